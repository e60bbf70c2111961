// What became of a job's attempts: how each ended, whose fault that was, and whose retries paid for the next one.

import { find, make, write } from "/static/dom.js";
import { duration, near, number, since, t } from "/static/words.js";

const CAUSE_KIND = { none: "completed", user: "failed", infrastructure: "degraded" };

function end(attempt) {
  if (!attempt.cause) return make("span", { class: "badge running" }, t("attempt.goes_on"));
  const code = attempt.exit_code ? t("exit", { code: attempt.exit_code }) : null;
  const cause = attempt.cause === "exit" && code ? null : t(`cause.${attempt.cause}`);
  return make("span", { class: `badge ${CAUSE_KIND[attempt.fault] ?? "plain"}` }, [cause, code].filter(Boolean).join(" · "));
}

function story(attempt) {
  const { admitted, started, finished } = attempt;
  const begun = started ?? admitted;
  return [
    attempt.node && t("on", { node: attempt.node }),
    begun && near(begun),
    started && finished && t("ran", { time: duration(since(started, Date.parse(finished))) }),
    !started && finished && t("attempt.never_started"),
  ].filter(Boolean).join(" · ");
}

function verdict(attempt) {
  return [
    attempt.fault && attempt.fault !== "none" ? t(`fault.${attempt.fault}`) : null,
    attempt.paid_by ? t(`paid.${attempt.paid_by}`) : null,
  ].filter(Boolean).join(" ");
}

function item(attempt) {
  const said = verdict(attempt);
  return make("li", { "data-attempt": attempt.attempt },
    make("div", { class: "line" }, make("strong", {}, t("attempt.of", { number: number(attempt.attempt) })), end(attempt),
      make("span", { class: "quiet" }, story(attempt))),
    said ? make("p", { class: "verdict" }, said) : null,
    attempt.evidence ? make("p", { class: "quiet" }, attempt.evidence) : null);
}

/** Show them once there is something to tell: another attempt, or an end that was somebody's fault. */
export function showAttempts(job) {
  const telling = job.attempts.length > 1 || job.attempts.some((attempt) => attempt.fault && attempt.fault !== "none");
  find("attempts").hidden = !telling;
  if (!telling) return;
  const { own, infrastructure } = job.spent;
  write(find("spent"), t("spent", { own: number(own), retries: number(job.retries), infrastructure: number(infrastructure) }));
  find("attempts-list").replaceChildren(...job.attempts.map(item));
}
