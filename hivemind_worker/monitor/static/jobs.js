// The table of jobs: a row per job, kept up to date in place.

import { post, taskPath } from "/static/api.js";
import { confirmed, failed, find, make, toast, write } from "/static/dom.js";
import { bytes, cores, duration, number, since, t } from "/static/words.js";

const ENDED = new Set(["completed", "failed", "stopped"]);
export const hasEnded = (job) => ENDED.has(job.state);

/** Whether its record can be read; of one that cannot, only the evidence says something. */
export const readable = (job) => Boolean(job.image);

export function requests(job) {
  if (!readable(job)) return "";
  const { cpu, memory, gpus, gpu_memory: share } = job.requests;
  const devices = gpus ? t(share ? "requests.share" : "requests.gpus", { count: gpus, size: bytes(share) }) : null;
  return [cores(cpu), bytes(memory), devices].filter(Boolean).join(" · ");
}

export function badge(job) {
  const cause = job.cause && job.cause !== "ok" ? ` · ${t(`cause.${job.cause}`)}` : "";
  return make("span", { class: `badge ${job.state}` }, t(`state.${job.state}`) + cause);
}

/**
 * What is worth knowing about a job in its present state, in one line. `here`: the node whose page this is; it goes
 * without saying, and what matters there is how long its jobs may stay.
 */
function detail(job, here) {
  const { started, finished } = job.times;
  if (job.state === "waiting") {
    const { position = null, eta_seconds: eta = null, reason = "" } = job.waiting ?? {};
    const place = position === null ? null : t("waiting.position", { position: number(position) });
    const start = eta === null ? null : t("waiting.in", { time: duration(eta) });
    return [place, start, reason].filter(Boolean).join(" · ");
  }
  const parts = [];
  if (!hasEnded(job)) {
    const left = started && here ? job.timeout_seconds - since(started) : 0;
    if (started) parts.push(t("runs", { time: duration(since(started)) }));
    if (left > 0) parts.push(t("runs.left", { time: duration(left) }));
  } else {
    if (started && finished) parts.push(t("ran", { time: duration(since(started, Date.parse(finished))) }));
    if (job.exit_code) parts.push(t("exit", { code: job.exit_code }));
    if (job.usage && job.usage.memory_peak) parts.push(bytes(job.usage.memory_peak));
    if (job.state !== "completed" && job.evidence) parts.push(job.evidence);
  }
  if (job.attempt > 1) parts.push(t("attempt", { number: job.attempt }));
  if (job.node && job.node !== here && !hasEnded(job)) parts.push(t("on", { node: job.node }));
  return parts.join(" · ");
}

/** Stop a job after asking. */
export async function stop(id) {
  if (!(await confirmed(t("stop.title", { id }), t("stop.text"), t("stop")))) return;
  try {
    await post(`${taskPath(id)}/stop`);
    toast(t("stop.done", { id }));
  } catch (error) {
    failed(error);
  }
}

const GROUP = (job) => (hasEnded(job) ? 2 : job.state === "waiting" ? 1 : 0);

/** What holds a reservation, then the line, then what ended; each in the order one looks for. */
export function byInterest(a, b) {
  const groups = GROUP(a) - GROUP(b);
  if (groups !== 0) return groups;
  // Infinity less itself is no number: of those without a place, who came first goes first.
  if (GROUP(a) === 1) return (a.waiting?.position ?? Infinity) - (b.waiting?.position ?? Infinity) || -byAge(a, b);
  const key = (job) => (hasEnded(job) ? job.times.finished : job.times.created) ?? "";
  return key(b).localeCompare(key(a)) || b.task_id.localeCompare(a.task_id);
}

export function byAge(a, b) {
  return b.times.created.localeCompare(a.times.created) || b.task_id.localeCompare(a.task_id);
}

export class JobTable {
  /** `wanted` says which jobs belong here, `most` how many of each group are kept, `here` on which node they all are. */
  constructor({ order, wanted = () => true, most = Infinity, here = "" }) {
    this.body = find("jobs").tBodies[0];
    this.order = order;
    this.wanted = wanted;
    this.most = most;
    this.here = here;
    this.jobs = new Map();
    this.rows = new Map();
    setInterval(() => document.hidden || this.age(), 1000);
  }

  /** Show these and no others. */
  replace(jobs) {
    this.jobs.clear();
    this.put(jobs);
  }

  /** Show these too, or as they are now. */
  put(jobs) {
    for (const job of jobs) {
      if (this.wanted(job)) this.jobs.set(job.task_id, job);
      else this.jobs.delete(job.task_id);
    }
    this.draw();
  }

  draw() {
    const sorted = [...this.jobs.values()].sort(this.order);
    const counts = [0, 0, 0];
    const shown = sorted.filter((job) => (counts[GROUP(job)] += 1) <= this.most);
    this.jobs = new Map(shown.map((job) => [job.task_id, job]));
    for (const [id, row] of this.rows) {
      if (!this.jobs.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    let place = this.body.firstElementChild;
    for (const job of shown) {
      const row = this.row(job);
      if (row === place) place = place.nextElementSibling;
      else this.body.insertBefore(row, place);
    }
    find("empty").hidden = shown.length > 0;
  }

  row(job) {
    let row = this.rows.get(job.task_id);
    if (row === undefined) {
      const cell = (name, ...children) => make("td", { role: "cell", class: name, "data-label": t(`col.${name}`) }, ...children);
      const button = make("button", { type: "button", class: "danger small", "aria-label": t("stop.of", { id: job.task_id }) }, t("stop"));
      button.addEventListener("click", () => stop(job.task_id));
      row = make(
        "tr",
        { role: "row", "data-task-id": job.task_id },
        make("th", { role: "rowheader", scope: "row" }, make("a", { href: `/tasks/${encodeURIComponent(job.task_id)}` }, job.task_id)),
        cell("state"),
        cell("requests", requests(job)),
        cell("owner", job.owner),
        cell("age"),
        cell("detail"),
        make("td", { role: "cell", class: "actions" }, button),
      );
      this.rows.set(job.task_id, row);
    }
    const state = row.querySelector(".state");
    const fresh = badge(job);
    if (state.firstElementChild?.outerHTML !== fresh.outerHTML) state.replaceChildren(fresh);
    row.querySelector("button").hidden = hasEnded(job);
    this.ageRow(row, job);
    return row;
  }

  ageRow(row, job) {
    write(row.querySelector(".age"), duration(since(job.times.created)));
    write(row.querySelector(".detail"), detail(job, this.here));
  }

  age() {
    for (const [id, row] of this.rows) this.ageRow(row, this.jobs.get(id));
  }
}
