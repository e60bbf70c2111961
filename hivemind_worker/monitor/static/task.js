// /tasks/{id}: one job, its facts and its live log.

import { get, taskPath } from "/static/api.js";
import { showAttempts } from "/static/attempts.js";
import { find, make, write } from "/static/dom.js";
import { badge, hasEnded, readable, stop } from "/static/jobs.js";
import { follow } from "/static/live.js";
import { LogView } from "/static/log.js";
import { showWaiting } from "/static/waiting.js";
import { bytes, clock, cores, duration, number, t } from "/static/words.js";

const id = find("task-id").dataset.taskId;
find("stop").addEventListener("click", () => stop(id));

/** All that it asks for, named: a size alone says nothing. */
function asked(job) {
  const { cpu, memory, disk, pids, gpus, gpu_memory: share, cpu_limit: limit, reclaimable } = job.requests;
  return [
    cores(cpu) + (limit ? ` (${t("asked.limit", { count: number(limit) })})` : ""),
    reclaimable ? t("asked.reclaimable") : null,
    t("asked.memory", { size: bytes(memory) }), t("asked.disk", { size: bytes(disk) }), t("asked.pids", { count: number(pids) }),
    gpus ? t(share ? "asked.share" : "asked.whole", { count: number(gpus), size: bytes(share) }) : null,
  ].filter(Boolean).join(" · ");
}

/** Every fact that the job has, in reading order. */
function facts(job) {
  const { times } = job;
  const { usage, log } = hasEnded(job) ? job : {}; // both are counted at the end
  if (!readable(job)) return [];
  return Object.entries({
    image: job.image,
    command: job.command.length ? job.command.map((word) => JSON.stringify(word)).join(" ") : null,
    bundle: job.bundle_sha256,
    owner: job.owner,
    requests: asked(job),
    priority: number(job.priority),
    network: job.network,
    timeout: duration(job.timeout_seconds),
    retries: job.retries ? number(job.retries) : null,
    attempt: job.attempt ? number(job.attempt) : null,
    node: job.node,
    home: job.home,
    worker: job.worker,
    created: clock(times.created),
    admitted: times.admitted && clock(times.admitted),
    started: times.started && clock(times.started),
    finished: times.finished && clock(times.finished),
    exit_code: job.exit_code === null ? null : String(job.exit_code),
    wall_seconds: usage && duration(usage.wall_seconds),
    cpu_seconds: usage && duration(usage.cpu_seconds),
    memory_peak: usage && usage.memory_peak ? bytes(usage.memory_peak) : null,
    log_bytes: log && bytes(log.bytes) + (log.truncated ? ` · ${t("log.truncated")}` : ""),
    artifact_size: job.artifact && bytes(job.artifact.size),
  }).filter(([, value]) => value);
}

function show(job) {
  find("state").replaceChildren(badge(job));
  find("stop").hidden = hasEnded(job);
  find("artifact").hidden = !job.artifact || job.archived?.artifact_kept === false;
  find("evidence").hidden = !job.evidence;
  find("evidence").textContent = job.evidence ?? "";
  showWaiting(job);
  showAttempts(job);
  const link = (name, value) =>
    name === "node" || name === "home" ? make("a", { href: `/nodes/${encodeURIComponent(value)}` }, value) : value;
  find("facts").replaceChildren(
    ...facts(job).map(([name, value]) => make("div", {}, make("dt", {}, t(`task.${name}`)), make("dd", {}, link(name, value)))),
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
