// /tasks/{id}: one job, its facts and its live log.

import { get, taskPath } from "/static/api.js";
import { find, make, write } from "/static/dom.js";
import { badge, hasEnded, requests, stop } from "/static/jobs.js";
import { follow } from "/static/live.js";
import { LogView } from "/static/log.js";
import { bytes, clock, duration, number, t } from "/static/words.js";

const id = find("task-id").dataset.taskId;
find("stop").addEventListener("click", () => stop(id));

/** Every fact that the job has, in reading order. */
function facts(job) {
  const { usage, times } = job;
  return Object.entries({
    waiting: job.waiting?.reason,
    image: job.image,
    command: job.command.length ? job.command.map((word) => JSON.stringify(word)).join(" ") : null,
    bundle: job.bundle_sha256,
    owner: job.owner,
    requests: `${requests(job)} · ${bytes(job.requests.disk)} · ${number(job.requests.pids)} PIDs`,
    priority: number(job.priority),
    network: job.network,
    timeout: duration(job.timeout_seconds),
    retries: job.retries ? number(job.retries) : null,
    attempt: job.attempt ? number(job.attempt) : null,
    node: job.node ?? job.home,
    worker: job.worker,
    created: clock(times.created),
    admitted: times.admitted && clock(times.admitted),
    started: times.started && clock(times.started),
    finished: times.finished && clock(times.finished),
    exit_code: job.exit_code === null ? null : String(job.exit_code),
    wall_seconds: usage && duration(usage.wall_seconds),
    cpu_seconds: usage && duration(usage.cpu_seconds),
    memory_peak: usage && usage.memory_peak ? bytes(usage.memory_peak) : null,
    log_bytes: job.log && bytes(job.log.bytes),
    artifact_size: job.artifact && bytes(job.artifact.size),
  }).filter(([, value]) => value);
}

function show(job) {
  find("state").replaceChildren(badge(job));
  find("stop").hidden = hasEnded(job);
  find("artifact").hidden = !job.artifact || job.archived?.artifact_kept === false;
  find("evidence").hidden = !job.evidence;
  find("evidence").textContent = job.evidence ?? "";
  find("facts").replaceChildren(
    ...facts(job).map(([name, value]) => make("div", {}, make("dt", {}, t(`task.${name}`)), make("dd", {}, value))),
  );
}

const log = new LogView(`${taskPath(id)}/logs?follow=true`);

async function load() {
  try {
    const job = await get(taskPath(id));
    show(job);
    if (job.archived) write(find("log-end"), t(job.archived.artifact_kept ? "log.archived" : "log.gone"));
    else log.open();
  } catch (error) {
    if (error.status !== 404) throw error;
    find("evidence").hidden = false;
    find("evidence").textContent = error.message;
  }
}

follow(load, {
  tasks: ({ tasks }) => tasks.filter((job) => job.task_id === id).forEach(show),
});
