// The devices of a node: how much of each is held and by whom, and why one is out of service.

import { Bar } from "/static/bars.js";
import { make, write } from "/static/dom.js";
import { bytes, number, t } from "/static/words.js";

const SHADES = 3;

/** ok, cordoned or ill: what one needs to know first. */
export const gpuState = (gpu) => (gpu.trouble ? "ill" : gpu.cordoned ? "cordoned" : "ok");

const badge = (kind, text) => make("span", { class: `badge ${kind}` }, text);

function badges(gpu) {
  const found = [];
  if (gpu.trouble) found.push(badge("fail", t("gpu.ill")));
  if (gpu.cordoned) found.push(badge("degraded", t("gpu.cordoned")));
  if (!found.length) found.push(badge("ok", t("gpu.ok")));
  if (gpu.parent) found.push(badge("plain", t("gpu.instance")));
  return found;
}

function holderText(holder) {
  const share = t(holder.whole ? "gpu.whole" : "gpu.share", { memory: bytes(holder.memory) });
  return ` ${holder.owner ? `${holder.owner} · ` : ""}${share}`;
}

class Device {
  constructor(gpu) {
    this.bar = new Bar(t("gpu.memory"));
    this.badges = make("span", { class: "badges" });
    this.score = make("span", { class: "quiet" });
    this.trouble = make("p", { class: "trouble", hidden: true });
    this.amount = make("p", { class: "amount" });
    this.holders = make("ul", { class: "holders" });
    this.element = make(
      "article", { class: "card gpu", "data-gpu": gpu.uuid },
      make("header", {}, make("h3", {}, t("gpu.name", { index: number(gpu.index) })), this.badges),
      make("p", { class: "quiet" }, gpu.name, " · ", make("code", {}, gpu.uuid), " ", this.score),
      this.trouble, this.bar.element, this.amount, this.holders,
    );
    this.seen = "";
  }

  update(gpu) {
    const seen = JSON.stringify(gpu);
    if (seen === this.seen) return;
    this.seen = seen;
    this.badges.replaceChildren(...badges(gpu));
    write(this.score, gpu.score ? ` · ${t("gpu.score", { score: number(Math.round(gpu.score)) })}` : "");
    this.trouble.hidden = !gpu.trouble;
    write(this.trouble, gpu.trouble ? t("gpu.trouble", { reason: gpu.trouble }) : "");
    const free = Math.max(0, gpu.lendable - gpu.held);
    const usable = gpuState(gpu) === "ok";
    const text = t("gpu.held", { held: bytes(gpu.held), lendable: bytes(gpu.lendable), total: bytes(gpu.memory) });
    this.bar.update({
      parts: [
        ...gpu.holders.map((holder, place) => [`held shade${place % SHADES}`, holder.memory]),
        [usable ? "free" : "closed", free], ["kept", gpu.reserved],
      ],
      most: Math.max(gpu.memory, gpu.held + gpu.reserved), text,
      percent: gpu.lendable ? (100 * gpu.held) / gpu.lendable : 0,
    });
    write(this.amount, text);
    this.holders.replaceChildren(...gpu.holders.map((holder, place) => make("li", {},
      make("i", { class: `swatch held shade${place % SHADES}` }),
      make("a", { href: `/tasks/${encodeURIComponent(holder.task_id)}` }, holder.task_id),
      make("span", { class: "quiet" }, holderText(holder)))));
  }
}

/** All devices of one node, in the driver's order. */
export class Devices {
  constructor(place) {
    this.place = place;
    this.devices = new Map();
  }

  update(gpus) {
    const uuids = new Set(gpus.map((gpu) => gpu.uuid));
    for (const [uuid, device] of this.devices) {
      if (!uuids.has(uuid)) {
        device.element.remove();
        this.devices.delete(uuid);
      }
    }
    for (const gpu of gpus) {
      if (!this.devices.has(gpu.uuid)) {
        this.devices.set(gpu.uuid, new Device(gpu));
        this.place.append(this.devices.get(gpu.uuid).element);
      }
      this.devices.get(gpu.uuid).update(gpu);
    }
  }
}
