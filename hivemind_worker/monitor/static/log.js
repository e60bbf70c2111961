// The live log: chunks as they come, the newest part kept, never as markup.

import { find, make, write } from "/static/dom.js";
import { number, t } from "/static/words.js";

const MOST_CHARS = 1_000_000;
// Colours and cursor moves of terminals (ECMA-48 control sequences) mean nothing here.
const CONTROL = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;

export class LogView {
  constructor(path) {
    this.path = path;
    this.place = find("log");
    this.tail = find("tail");
    this.size = 0;
    this.last = 0;
    this.source = null;
    this.ended = false;
    this.shown = null;
    this.remarks = find("remarks");
    this.remarks.addEventListener("click", () => this.toNextRemark());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
  }

  open() {
    if (this.source !== null || this.ended || document.hidden) return;
    const source = new EventSource(`${this.path}&from=${this.last + 1}`);
    this.source = source;
    source.addEventListener("chunk", (event) => this.add(JSON.parse(event.data)));
    source.addEventListener("end", () => this.end());
    source.onerror = () => source.readyState === EventSource.CLOSED && this.close();
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  end() {
    this.ended = true;
    this.close();
    find("log-end").textContent = t(this.last === 0 ? "log.empty" : "log.ended");
  }

  add(chunk) {
    if (chunk.number <= this.last) return;
    if (chunk.number > this.last + 1) this.append("notice", `${t("log.gap")}\n`);
    this.last = chunk.number;
    this.append(chunk.stream, chunk.text.replace(CONTROL, ""));
  }

  /** The node's own words in the log: gaps, cuts, lost attempts. Each click shows the next one, then the first again. */
  toNextRemark() {
    const found = [...this.place.querySelectorAll(".notice")];
    const next = found[(found.indexOf(this.shown) + 1) % found.length];
    this.shown?.classList.remove("shown");
    this.shown = next;
    next.classList.add("shown");
    this.tail.checked = false;
    this.place.scrollTop += next.getBoundingClientRect().top - this.place.getBoundingClientRect().top - 24;
  }

  countRemarks() {
    const count = this.place.querySelectorAll(".notice").length;
    this.remarks.hidden = count === 0;
    write(this.remarks, t("log.remarks", { count: number(count) }));
  }

  append(stream, text) {
    this.place.append(make("span", { class: stream }, text));
    this.size += text.length;
    while (this.size > MOST_CHARS && this.place.childElementCount > 1) {
      this.size -= this.place.firstElementChild.textContent.length;
      this.place.firstElementChild.remove();
    }
    if (stream === "notice" || !this.remarks.hidden) this.countRemarks();
    if (this.tail.checked) this.place.scrollTop = this.place.scrollHeight;
  }
}
