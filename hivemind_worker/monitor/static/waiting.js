// Why a job waits: the reason, its place, when it will probably start, and what was promised to whom.

import { find, make } from "/static/dom.js";
import { duration, near, number, t, until } from "/static/words.js";

const tile = (name, figure, ...label) =>
  make("div", { class: "tile", "data-waiting": name }, make("span", { class: "figure" }, figure), make("span", { class: "label" }, ...label));

function promised(job, promise) {
  const left = until(promise.at);
  const figure = left > 0 ? duration(left) : t("waiting.due");
  const time = t("waiting.by", { time: near(promise.at), node: promise.node });
  if (promise.task_id === job.task_id) return tile("promise", figure, `${t("waiting.own")} ${time}`);
  const head = make("a", { href: `/tasks/${encodeURIComponent(promise.task_id)}` }, promise.task_id);
  return tile("promise", figure, `${t("waiting.head")} `, head, ` ${time}`);
}

export function showWaiting(job) {
  const { waiting } = job;
  find("waiting").hidden = !waiting;
  if (!waiting) return;
  const { kind, reason, position, eta_seconds: eta, promise } = waiting;
  find("waiting-view").replaceChildren(
    make("p", { class: "reason" }, kind ? make("span", { class: "badge waiting" }, t(`wait.${kind}`)) : null, " ", reason),
    make("div", { class: "tiles" },
      tile("position", position === null ? "–" : number(position), t("waiting.place")),
      tile("eta", eta === null ? "–" : duration(eta), t(eta === null ? "waiting.eta_unknown" : "waiting.eta")),
      promise ? promised(job, promise) : null),
  );
}
