// The cards of the nodes: what each lends, what is reserved of it, what the machine uses, and how that went.

import { post } from "/static/api.js";
import { attention } from "/static/attention.js";
import { Bar, drawResource } from "/static/bars.js";
import { confirmed, failed, find, make, write } from "/static/dom.js";
import { gpuState } from "/static/gpus.js";
import { RESOURCES, reservedText } from "/static/resources.js";
import { bytes, number, percent, t } from "/static/words.js";

const SAMPLES = 60;
const SVG = "http://www.w3.org/2000/svg";
const SHOWN = ["cpu", "memory", "disk", "slots", "gpus"];
const MACHINE = {
  cpu: (node) => t("meter.cpu", { percent: percent(node.usage.cpu_percent) }),
  memory: (node) => t("meter.used", { used: bytes(node.usage.memory_used), capacity: bytes(node.capacity.memory) }),
};

class Meter {
  constructor(resource) {
    this.resource = resource;
    this.history = [];
    this.bar = new Bar(t(`resource.${resource.name}`));
    this.reserved = make("span", { class: "reserved" });
    this.element = make(
      "div", { class: "resource", "data-resource": resource.name },
      make("span", { class: "name" }, t(`resource.${resource.name}`)), this.reserved, this.bar.element,
    );
    this.machine = MACHINE[resource.name];
    if (this.machine) {
      this.used = make("span", { class: "quiet" });
      this.line = document.createElementNS(SVG, "polyline");
      const chart = document.createElementNS(SVG, "svg");
      chart.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
      chart.setAttribute("preserveAspectRatio", "none");
      chart.setAttribute("aria-hidden", "true");
      chart.append(this.line);
      this.element.append(make("div", { class: "machine" }, this.used, chart));
    }
  }

  update(node) {
    const { name } = this.resource;
    this.element.hidden = node.allocatable[name] === 0 && node.reserved[name] === 0 && node.capacity[name] === 0;
    const text = reservedText(node, this.resource);
    drawResource(this.bar, node, name, text);
    write(this.reserved, text);
    if (!this.machine) return;
    write(this.used, this.machine(node));
    this.history.push(Math.max(0, Math.min(1, this.resource.used(node).part)));
    if (this.history.length > SAMPLES) this.history.shift();
    const offset = SAMPLES - this.history.length;
    this.line.setAttribute("points", this.history.map((value, i) => `${offset + i},${(19 - 18 * value).toFixed(1)}`).join(" "));
  }
}

/** Drain a node after asking, or resume it. The node as it is then; null when nothing was done. */
export async function toggle(node) {
  const draining = node.state === "draining";
  const name = node.node;
  if (!draining && !(await confirmed(t("node.drain.title", { name }), t("node.drain.text"), t("node.drain")))) return null;
  try {
    return await post(`/api/nodes/${encodeURIComponent(name)}/${draining ? "resume" : "drain"}`);
  } catch (error) {
    failed(error);
    return null;
  }
}

/** Badges for what is not as usual, beside the state. */
function badges(node) {
  const counted = (state) => node.gpus.filter((gpu) => gpuState(gpu) === state).length;
  const capped = Object.values(node.caps).some((cap) => cap !== null);
  return [
    [counted("ill"), "fail", "node.gpus_ill"], [counted("cordoned"), "degraded", "node.gpus_cordoned"],
    [node.warnings.length, "degraded", "node.warnings"], [Number(capped), "plain", "node.capped"],
  ].filter(([count]) => count > 0)
    .map(([count, kind, word]) => make("span", { class: `badge ${kind}` }, t(word, { count: number(count) })));
}

class Card {
  constructor(name) {
    this.name = name;
    this.meters = RESOURCES.filter((resource) => SHOWN.includes(resource.name)).map((resource) => new Meter(resource));
    this.state = make("span", { class: "badge" });
    this.running = make("span", { class: "quiet" });
    this.button = make("button", { type: "button", class: "small" });
    this.button.addEventListener("click", async () => {
      const changed = await toggle(this.node);
      if (changed) this.update(changed);
    });
    this.badges = make("p", { class: "badges" });
    this.trouble = make("p", { class: "trouble", hidden: true });
    this.workers = make("p", { class: "quiet" });
    const link = make("a", { href: `/nodes/${encodeURIComponent(name)}` }, name);
    this.element = make(
      "article", { class: "card", "data-node": name },
      make("header", {}, make("h3", {}, link), this.state, this.running, this.button),
      this.badges, this.trouble, ...this.meters.map((meter) => meter.element), this.workers,
    );
  }

  update(node) {
    this.node = node;
    this.element.dataset.state = node.state;
    this.state.className = `badge ${node.state}`;
    write(this.state, t(`node.${node.state}`));
    write(this.running, t("node.running", { count: node.running }));
    write(this.button, t(node.state === "draining" ? "node.resume" : "node.drain"));
    this.button.hidden = node.state === "down";
    const fresh = badges(node);
    if (this.badges.textContent !== fresh.map((badge) => badge.textContent).join("")) this.badges.replaceChildren(...fresh);
    this.badges.hidden = fresh.length === 0;
    const [worst] = attention(node).filter(([kind]) => kind === "fail" || node.state === "draining");
    this.trouble.hidden = worst === undefined;
    this.trouble.className = worst?.[0] === "fail" ? "trouble" : "quiet";
    write(this.trouble, worst?.[1] ?? "");
    write(this.workers, node.workers.length ? t("node.workers", { names: node.workers.join(", ") }) : "");
    for (const meter of this.meters) meter.update(node);
  }
}

export class Nodes {
  constructor() {
    this.place = find("nodes");
    this.cards = new Map();
  }

  update(nodes) {
    const names = new Set(nodes.map((node) => node.node));
    for (const [name, card] of this.cards) {
      if (!names.has(name)) {
        card.element.remove();
        this.cards.delete(name);
      }
    }
    for (const node of nodes) {
      if (!this.cards.has(node.node)) {
        this.cards.set(node.node, new Card(node.node));
        this.place.append(this.cards.get(node.node).element);
      }
      this.cards.get(node.node).update(node);
    }
    const none = this.place.querySelector(".empty");
    if (nodes.length === 0 && none === null) this.place.append(make("p", { class: "empty" }, t("nodes.none")));
    if (nodes.length > 0) none?.remove();
  }
}
