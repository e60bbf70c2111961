// The cards of the nodes: what each lends, what is reserved of it, what the machine uses, and how that went.

import { post } from "/static/api.js";
import { confirmed, failed, find, make, write } from "/static/dom.js";
import { bytes, number, percent, t } from "/static/words.js";

const SAMPLES = 60;
const SVG = "http://www.w3.org/2000/svg";

const RESOURCES = [
  { name: "cpu", show: (value) => t("cores", { count: number(value) }), part: number, used: (node) => node.usage.cpu_percent / 100,
    usedText: (node) => t("meter.cpu", { percent: percent(node.usage.cpu_percent) }) },
  { name: "memory", show: bytes, used: (node) => node.usage.memory_used / (node.capacity.memory || 1),
    usedText: (node) => t("meter.used", { used: bytes(node.usage.memory_used), capacity: bytes(node.capacity.memory) }) },
  { name: "disk", show: bytes },
  { name: "gpus", show: number },
  { name: "slots", show: number },
];

class Meter {
  constructor(resource) {
    this.resource = resource;
    this.history = [];
    this.bar = make("i", {});
    this.meter = make("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t(`resource.${resource.name}`) }, this.bar);
    this.reserved = make("span", { class: "reserved" });
    this.used = make("span", { class: "quiet" });
    this.element = make(
      "div", { class: "resource", "data-resource": resource.name },
      make("span", { class: "name" }, t(`resource.${resource.name}`)), this.reserved, this.meter,
    );
    if (resource.used) {
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
    const { name, show, part = show, used, usedText } = this.resource;
    const allocatable = node.allocatable[name];
    const reserved = node.reserved[name];
    this.element.hidden = allocatable === 0 && reserved === 0;
    const share = allocatable > 0 ? Math.min(100, (100 * reserved) / allocatable) : 0;
    this.bar.style.inlineSize = `${share}%`;
    this.meter.setAttribute("aria-valuenow", share.toFixed(0));
    const text = t("meter.reserved", { reserved: part(reserved), allocatable: show(allocatable) });
    this.meter.setAttribute("aria-valuetext", text);
    write(this.reserved, text);
    if (!used) return;
    write(this.used, usedText(node));
    this.history.push(Math.max(0, Math.min(1, used(node))));
    if (this.history.length > SAMPLES) this.history.shift();
    const offset = SAMPLES - this.history.length;
    this.line.setAttribute("points", this.history.map((value, i) => `${offset + i},${(19 - 18 * value).toFixed(1)}`).join(" "));
  }
}

class Card {
  constructor(name) {
    this.name = name;
    this.meters = RESOURCES.map((resource) => new Meter(resource));
    this.state = make("span", { class: "badge" });
    this.running = make("span", { class: "quiet" });
    this.button = make("button", { type: "button", class: "small" });
    this.button.addEventListener("click", () => this.toggle());
    this.trouble = make("p", { class: "trouble", hidden: true });
    this.workers = make("p", { class: "quiet" });
    this.element = make(
      "article", { class: "card", "data-node": name },
      make("header", {}, make("h3", {}, name), this.state, this.running, this.button),
      this.trouble, ...this.meters.map((meter) => meter.element), this.workers,
    );
  }

  update(node) {
    this.node = node;
    this.state.className = `badge ${node.state}`;
    write(this.state, t(`node.${node.state}`));
    write(this.running, t("node.running", { count: node.running }));
    write(this.button, t(node.state === "draining" ? "node.resume" : "node.drain"));
    this.button.hidden = node.state === "down";
    this.trouble.hidden = !node.trouble;
    write(this.trouble, node.trouble ? t("node.trouble", { reason: node.trouble }) : "");
    write(this.workers, node.workers.length ? t("node.workers", { names: node.workers.join(", ") }) : "");
    for (const meter of this.meters) meter.update(node);
  }

  async toggle() {
    const draining = this.node.state === "draining";
    const name = this.name;
    if (!draining && !(await confirmed(t("node.drain.title", { name }), t("node.drain.text"), t("node.drain")))) return;
    try {
      this.update(await post(`/api/nodes/${encodeURIComponent(name)}/${draining ? "resume" : "drain"}`));
    } catch (error) {
      failed(error);
    }
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
