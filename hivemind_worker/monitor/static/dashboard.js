// /dashboard: the counts, the nodes, and the jobs one looks for first.

import { get } from "/static/api.js";
import { find, write } from "/static/dom.js";
import { JobTable, byInterest } from "/static/jobs.js";
import { follow } from "/static/live.js";
import { Nodes } from "/static/nodes.js";
import { number } from "/static/words.js";

const MOST = 50;
const COUNTS_MS = 1000;
const nodes = new Nodes();
const table = new JobTable({ order: byInterest, most: MOST });
let timer = 0;

async function count() {
  const status = await get("/api/status");
  for (const name of ["running", "waiting", "active", "known"]) write(find(`count-${name}`), number(status[name]));
}

/** The counts follow changes at their own, slower pace: a burst of changes is one call. */
function countSoon() {
  timer ||= setTimeout(() => {
    timer = 0;
    count().catch(() => {});
  }, COUNTS_MS);
}

async function load() {
  const [held, newest, site] = await Promise.all([
    get("/api/tasks?held=true"), get(`/api/tasks?limit=${2 * MOST}`), get("/api/nodes"), count(),
  ]);
  table.replace([...newest.tasks, ...held.tasks]);
  nodes.update(site.nodes);
}

follow(load, {
  tasks: ({ tasks }) => {
    table.put(tasks);
    countSoon();
  },
  nodes: (data) => nodes.update(data.nodes),
});
