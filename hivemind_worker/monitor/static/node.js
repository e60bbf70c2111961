// /nodes/{name}: one node, all that it has, lends and uses, who is on it, and what is wrong with it.

import { get } from "/static/api.js";
import { attention, attentionOfHealth, emptyText, tell } from "/static/attention.js";
import { legend, tellOver } from "/static/bars.js";
import { find, make, write } from "/static/dom.js";
import { Devices } from "/static/gpus.js";
import { JobTable, byInterest, hasEnded } from "/static/jobs.js";
import { follow } from "/static/live.js";
import { toggle } from "/static/nodes.js";
import { ResourceTable, overdrawn } from "/static/resources.js";
import { clock, number, percent, t } from "/static/words.js";

const HEALTH_MS = 10_000;
const name = find("node-name").dataset.node;
const resources = new ResourceTable(find("resources"));
const devices = new Devices(find("gpus"));
const table = new JobTable({
  here: name, order: byInterest, wanted: (job) => job.node === name && !hasEnded(job) && job.state !== "waiting",
});
const colours = legend();
find("legend").replaceWith(colours);

let node = null;
let health = [];

/** Every fact that the node tells, in reading order. */
function facts() {
  return Object.entries({
    running: number(node.running),
    empty: emptyText(node),
    waiting: number(node.waiting),
    workers: node.workers.join(", "),
    heartbeat: node.heartbeat && clock(node.heartbeat),
    version: node.version,
    load: t("node.load", { load: number(node.usage.load_1m), pressure: percent(node.usage.cpu_pressure) }),
    cpu_factor: t("node.factor", { factor: number(node.cpu_factor) }),
    cpu_score: node.cpu_score ? number(Math.round(node.cpu_score)) : null,
    on_partition: node.on_partition && t(`partition.${node.on_partition}`),
    durability: node.durability && t(`durability.${node.durability}`),
  }).filter(([, value]) => value);
}

function fact([key, value]) {
  const hint = t(`fact.${key}.hint`);
  return make("div", { "data-fact": key }, make("dt", {}, t(`fact.${key}`)), make("dd", {}, value,
    hint === `fact.${key}.hint` ? null : make("span", { class: "hint" }, hint)));
}

function draw() {
  if (node === null) return;
  const state = find("state");
  state.className = `badge ${node.state}`;
  write(state, t(`node.${node.state}`));
  const button = find("drain");
  button.hidden = node.state === "down";
  write(button, t(node.state === "draining" ? "node.resume" : "node.drain"));
  find("view").hidden = false;
  find("view").dataset.state = node.state;
  tell(find("attention"), [...attention(node), ...health]);
  resources.update(node);
  tellOver(colours, overdrawn(node).length > 0);
  find("gpu-section").hidden = node.gpus.length === 0;
  devices.update(node.gpus);
  const list = facts();
  const seen = JSON.stringify(list);
  if (find("facts").dataset.seen !== seen) find("facts").replaceChildren(...list.map(fact));
  find("facts").dataset.seen = seen;
}

function update(nodes) {
  const found = nodes.find((each) => each.node === name);
  find("missing").hidden = found !== undefined || node !== null;
  if (found === undefined) return;
  node = found;
  draw();
}

/** The checks are those of the node that serves this page; of another one's, nothing is known here. */
async function check() {
  const [status, { checks }] = await Promise.all([get("/api/status"), get("/health")]);
  health = status.node === name ? attentionOfHealth(checks) : [];
  draw();
}

async function load() {
  const [site, held] = await Promise.all([get("/api/nodes"), get("/api/tasks?held=true")]);
  table.replace(held.tasks);
  update(site.nodes);
  check().catch(() => {});
}

find("drain").addEventListener("click", async () => {
  const changed = await toggle(node);
  if (changed) update([changed]);
});
setInterval(() => document.hidden || check().catch(() => {}), HEALTH_MS);
follow(load, {
  nodes: (data) => update(data.nodes),
  tasks: ({ tasks }) => table.put(tasks),
});
