// /tasks: every job on record, by state and owner, page by page.

import { get } from "/static/api.js";
import { failed, find } from "/static/dom.js";
import { JobTable, byAge } from "/static/jobs.js";
import { follow } from "/static/live.js";

const state = find("filter-state");
const owner = find("filter-owner");
const more = find("more");
const asked = new URLSearchParams(location.search);
state.value = asked.get("state") ?? "";
owner.value = asked.get("owner") ?? "";
let next = "";

const table = new JobTable({
  order: byAge,
  wanted: (job) => (!state.value || job.state === state.value) && (!owner.value || job.owner === owner.value),
});

function query(cursor) {
  const wanted = new URLSearchParams({ limit: "100" });
  if (state.value) wanted.set("state", state.value);
  if (owner.value) wanted.set("owner", owner.value);
  if (cursor) wanted.set("cursor", cursor);
  return get(`/api/tasks?${wanted}`);
}

function turned(page) {
  next = page.next;
  more.hidden = !next;
  find("note").hidden = !page.note;
  find("note").textContent = page.note;
}

async function load() {
  const page = await query("");
  table.replace(page.tasks);
  turned(page);
}

more.addEventListener("click", async () => {
  try {
    const page = await query(next);
    table.put(page.tasks);
    turned(page);
  } catch (error) {
    failed(error);
  }
});

const reload = follow(load, { tasks: ({ tasks }) => table.put(tasks) });

function filter() {
  const wanted = new URLSearchParams();
  if (state.value) wanted.set("state", state.value);
  if (owner.value) wanted.set("owner", owner.value);
  history.replaceState(null, "", wanted.size ? `?${wanted}` : location.pathname);
  reload();
}
state.addEventListener("change", filter);
owner.addEventListener("change", filter);
