// Bars: how much of what there is is held, free, kept for the system or not lent, and what the machine uses of it.

import { make } from "/static/dom.js";
import { t } from "/static/words.js";

export const PARTS = ["held", "over", "free", "kept", "closed"];

/** A node's amounts of one resource, cut into the parts of a bar. What is not lent is capped, or in use by others. */
export function amounts(node, name) {
  const held = node.reserved[name];
  const lent = node.allocatable[name];
  const most = Math.max(node.capacity[name], lent, held);
  const kept = Math.min(node.reserved_for_system[name], most - Math.max(lent, held));
  return {
    most,
    parts: {
      held: Math.min(held, lent), over: Math.max(0, held - lent), free: Math.max(0, lent - held), kept,
      closed: most - Math.max(lent, held) - kept,
    },
  };
}

export class Bar {
  constructor(label) {
    this.mark = make("b", { hidden: true });
    this.element = make("div", { class: "bar", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": label });
    this.kinds = "";
  }

  /** `parts`: pairs of kind and amount, which together are `most`; `used`: where the mark stands, 0 to 1, if anywhere. */
  update({ parts, most, percent, text, used = null }) {
    const kinds = parts.map(([kind]) => kind).join(" ");
    if (kinds !== this.kinds) {
      this.kinds = kinds;
      this.element.replaceChildren(...parts.map(([kind]) => make("i", { class: kind })), this.mark);
    }
    parts.forEach(([, amount], place) => {
      const piece = this.element.children[place];
      piece.hidden = !(amount > 0);
      piece.style.flexGrow = String(most > 0 ? amount / most : 0);
    });
    this.mark.hidden = used === null;
    this.mark.style.insetInlineStart = `${100 * Math.max(0, Math.min(1, used ?? 0))}%`;
    this.element.setAttribute("aria-valuenow", Math.min(100, percent).toFixed(0));
    this.element.setAttribute("aria-valuetext", text);
  }
}

/** A resource's bar of a node. */
export function drawResource(bar, node, name, text, used = null) {
  const { most, parts } = amounts(node, name);
  const lent = node.allocatable[name];
  bar.update({
    parts: PARTS.map((kind) => [kind, parts[kind]]), most, text, used,
    percent: lent > 0 ? (100 * node.reserved[name]) / lent : 0,
  });
}

/** What the colours mean. */
export function legend() {
  const entry = (kind) => make("span", {}, make("i", { class: `swatch ${kind}` }), t(`part.${kind}`));
  return make("p", { class: "legend", "aria-hidden": true }, ...[...PARTS, "used"].map(entry));
}

/** The legend says nothing of what is nowhere to be seen. */
export function tellOver(place, seen) {
  place.querySelector(".over").parentElement.hidden = !seen;
}
