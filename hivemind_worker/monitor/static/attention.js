// What an operator should know of a node, worst first: why it takes nothing, what is ill, what was changed by hand.

import { make } from "/static/dom.js";
import { capsText, overdrawn } from "/static/resources.js";
import { duration, near, number, since, t, until } from "/static/words.js";

/** Until when jobs run on it, in words; "" when there are none, or nobody knows what becomes of them. */
export function emptyText(node) {
  if (!node.empty_by || node.state === "down") return "";
  const left = until(node.empty_by);
  if (left <= 0) return t("node.empty.now");
  const latest = t("node.empty.by", { time: near(node.empty_by), left: duration(left) });
  const likely = until(node.empty_expected);
  return left - likely < 1 || likely <= 0 ? latest : `${latest}; ${t("node.empty.likely", { left: duration(likely) })}`;
}

function ofState(node) {
  if (node.state === "down") {
    const time = node.heartbeat ? near(node.heartbeat) : "?";
    return [["fail", t("note.down", { time, ago: node.heartbeat ? duration(since(node.heartbeat)) : "?" })]];
  }
  const found = node.trouble ? [["fail", t("node.trouble", { reason: node.trouble })]] : [];
  if (node.state === "draining") {
    const rest = node.running ? `${t("note.runs_on", { count: number(node.running) })} ${emptyText(node)}` : t("note.empty");
    found.push(["degraded", `${t("note.draining")} ${rest}`]);
  }
  return found;
}

function ofDevices(node) {
  const found = node.gpu_trouble ? [["fail", node.gpu_trouble]] : [];
  for (const gpu of node.gpus) {
    const name = t("gpu.name", { index: number(gpu.index) });
    if (gpu.trouble && gpu.trouble !== node.gpu_trouble) found.push(["fail", t("note.gpu_ill", { name, reason: gpu.trouble })]);
    if (gpu.cordoned) found.push(["degraded", t("note.gpu_cordoned", { name, count: number(gpu.jobs) })]);
  }
  return found;
}

/** Pairs of severity and sentence, of what the node says of itself; what keeps it from its work comes first. */
export function attention(node) {
  const over = overdrawn(node).map(({ name }) => t(`resource.${name}`));
  const capped = capsText(node);
  return [
    ...ofState(node), ...ofDevices(node),
    ...node.warnings.map((warning) => ["degraded", warning]),
    ...(over.length ? [["degraded", t("note.over", { resources: over.join(", ") })]] : []),
    ...(capped ? [["plain", t("note.capped", { amounts: capped })]] : []),
  ];
}

const RANK = { fail: 0, degraded: 1, plain: 2 };

/** The same of the parts of the node that serves this page, but for devices: the node says more of them itself. */
export function attentionOfHealth(checks) {
  return Object.entries(checks).filter(([name]) => name !== "gpu").flatMap(([name, check]) => [
    ...(check.status === "fail" || check.status === "degraded" ? [[check.status, `${name}: ${check.detail}`]] : []),
    ...check.warnings.map((warning) => ["degraded", `${name}: ${warning}`]),
  ]);
}

/** Show them; a list that has not changed is left alone. */
export function tell(place, all) {
  const found = all.toSorted((a, b) => RANK[a[0]] - RANK[b[0]]);
  const seen = JSON.stringify(found);
  if (place.dataset.seen === seen) return;
  place.dataset.seen = seen;
  const item = ([kind, text]) =>
    make("li", { class: kind }, make("span", { class: `badge ${kind}` }, t(`note.kind.${kind}`)), make("span", {}, text));
  place.replaceChildren(...(found.length ? found.map(item) : [item(["ok", t("note.none")])]));
}
