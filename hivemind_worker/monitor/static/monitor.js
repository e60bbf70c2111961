// /monitor: the health of the parts, the nodes, and what happens as it happens.

import { get } from "/static/api.js";
import { find, make, write } from "/static/dom.js";
import { follow } from "/static/live.js";
import { Nodes } from "/static/nodes.js";
import { clock, number, t } from "/static/words.js";

const HEALTH_MS = 10_000;
const MOST_EVENTS = 100;
const MOST_ASIDE = 20;
const nodes = new Nodes();

async function health() {
  const { checks } = await get("/health");
  find("health").tBodies[0].replaceChildren(
    ...Object.entries(checks).map(([name, check]) =>
      make("tr", {},
        make("th", { scope: "row" }, name),
        make("td", { class: "badges" }, make("span", { class: `badge ${check.status}` }, t(`health.${check.status}`)),
          check.warnings.length ? make("span", { class: "badge degraded" }, t("health.warning")) : null),
        make("td", {}, check.detail))),
  );
}

/** What is damaged and kept for a person to look at. */
async function quarantine() {
  const { count, things } = await get(`/api/quarantine?limit=${MOST_ASIDE}`);
  find("quarantine").hidden = count === 0;
  write(find("quarantine-count"), t("quarantine.count", { count: number(count) }));
  find("quarantine-things").replaceChildren(...things.map(({ key, at }) =>
    make("li", {}, make("time", { datetime: at }, clock(at)), " ", make("code", {}, key))));
}

async function load() {
  const [site, recent] = await Promise.all([
    get("/api/nodes"), get(`/api/events/recent?limit=${MOST_EVENTS}`), health(), quarantine(),
  ]);
  nodes.update(site.nodes);
  find("events").replaceChildren(...recent.events.map(item));
}

function item(event) {
  const cause = event.cause && event.cause !== "ok" ? ` · ${t(`cause.${event.cause}`)}` : "";
  return make("li", { "data-event-id": event.id },
    make("time", { datetime: event.at }, clock(event.at)), " ",
    make("a", { href: `/tasks/${encodeURIComponent(event.task_id)}` }, event.task_id), " ",
    make("span", { class: `badge ${event.state}` }, t(`state.${event.state}`) + cause));
}

function tell(event) {
  const list = find("events");
  if (list.querySelector(`[data-event-id="${CSS.escape(event.id)}"]`)) return;
  list.prepend(item(event));
  while (list.childElementCount > MOST_EVENTS) list.lastElementChild.remove();
}

setInterval(() => document.hidden || Promise.all([health(), quarantine()]).catch(() => {}), HEALTH_MS);
follow(load, { nodes: (data) => nodes.update(data.nodes), state: tell });
