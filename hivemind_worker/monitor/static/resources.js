// A node's resources, all that is to be said of each, and whether it may be used at all.

import { Bar, amounts, drawResource } from "/static/bars.js";
import { make, write } from "/static/dom.js";
import { bytes, cores, number, percent, t } from "/static/words.js";

const COLUMNS = ["reserved", "free", "lent", "cap", "kept", "has", "used"];

/** In the order one looks; `cap`: its name among the node's caps; `used`: what the machine uses of it, jobs or not. */
export const RESOURCES = [
  { name: "cpu", show: cores, part: number, cap: "max_cpu",
    used: (node) => ({ part: node.usage.cpu_percent / 100, text: percent(node.usage.cpu_percent) }) },
  { name: "spare_cpu", show: cores, part: number },
  { name: "memory", show: bytes, cap: "max_memory",
    used: (node) => ({ part: node.usage.memory_used / (node.capacity.memory || 1), text: bytes(node.usage.memory_used) }) },
  { name: "disk", show: bytes,
    used: (node) => ({ part: node.usage.disk_used / (node.capacity.disk || 1), text: bytes(node.usage.disk_used) }) },
  { name: "pids", show: number },
  { name: "slots", show: number, cap: "max_tasks" },
  { name: "gpus", show: number, cap: "max_gpus" },
];

export function reservedText(node, { name, show, part = show }) {
  return t("meter.reserved", { reserved: part(node.reserved[name]), allocatable: show(node.allocatable[name]) });
}

/** Resources of which jobs hold more than the node lends now: a cap was lowered under them. */
export const overdrawn = (node) => RESOURCES.filter(({ name }) => node.reserved[name] > node.allocatable[name]);

/** What an operator capped the node to, in words. */
export function capsText(node) {
  return RESOURCES.filter(({ cap }) => cap && node.caps[cap] !== null)
    .map(({ name, cap, show }) => t(`capped.${name}`, { amount: show(node.caps[cap]) }))
    .join(", ");
}

function cells(node, { name, show, cap, used }) {
  const { parts } = amounts(node, name);
  return {
    reserved: show(node.reserved[name]),
    free: show(parts.free),
    lent: show(node.allocatable[name]),
    cap: cap && node.caps[cap] !== null ? show(node.caps[cap]) : "–",
    kept: node.reserved_for_system[name] ? show(node.reserved_for_system[name]) : "–",
    has: name === "spare_cpu" ? "–" : show(node.capacity[name]),
    used: used ? used(node).text : "–",
  };
}

class Row {
  constructor(resource) {
    this.resource = resource;
    const label = t(`resource.${resource.name}`);
    this.bar = new Bar(label);
    const cell = (name) => make("td", { role: "cell", "data-label": t(`amount.${name}`), "data-amount": name });
    this.cells = Object.fromEntries(COLUMNS.map((name) => [name, cell(name)]));
    this.element = make(
      "tr", { role: "row", "data-resource": resource.name },
      make("th", { role: "rowheader", scope: "row" }, label),
      make("td", { role: "cell", class: "picture" }, this.bar.element),
      ...Object.values(this.cells),
    );
  }

  update(node) {
    const { name, used } = this.resource;
    this.element.hidden = node.capacity[name] === 0 && node.allocatable[name] === 0 && node.reserved[name] === 0;
    drawResource(this.bar, node, name, reservedText(node, this.resource), used ? used(node).part : null);
    const texts = cells(node, this.resource);
    for (const [column, cell] of Object.entries(this.cells)) {
      write(cell, texts[column]);
      cell.classList.toggle("nothing", texts[column] === "–");
    }
    this.cells.reserved.classList.toggle("bad", node.reserved[name] > node.allocatable[name]);
  }
}

/** The table of all of them. */
export class ResourceTable {
  constructor(table) {
    const head = (text, hidden = false) =>
      make("th", { scope: "col", role: "columnheader" }, hidden ? make("span", { class: "hidden" }, text) : text);
    table.tHead.rows[0].replaceChildren(
      head(t("amount.resource")), head(t("amount.picture"), true), ...COLUMNS.map((name) => head(t(`amount.${name}`))),
    );
    this.rows = RESOURCES.map((resource) => new Row(resource));
    table.tBodies[0].replaceChildren(...this.rows.map((row) => row.element));
  }

  update(node) {
    for (const row of this.rows) row.update(node);
  }
}
