// The live feed: one stream of events while the page is in view, and a banner while it is not to be had.

import { find } from "/static/dom.js";
import { t } from "/static/words.js";

const RETRY_MS = 2000;
const BURST_MS = 1000;

function show(reason) {
  const banner = find("banner");
  banner.hidden = reason === null;
  banner.textContent = reason === null ? "" : t(reason);
  document.body.dataset.stale = String(reason !== null);
  const live = find("live");
  live.dataset.on = String(reason === null);
  live.lastElementChild.textContent = t(reason === null ? "live.on" : "live.off");
}

/**
 * Load, then listen. `load` fetches what the page shows and is called again whenever something may have been missed;
 * `handlers` maps an event's name to what to do with its data. Returns what loads anew.
 */
export function follow(load, handlers) {
  let source = null;
  let timer = 0;
  let loading = null;
  let burst = 0;

  async function reload() {
    try {
      await (loading ??= load().finally(() => (loading = null)));
      show(null);
    } catch (error) {
      show(error.code === "store_away" ? "away.store" : "away.server");
      clearTimeout(timer);
      timer = setTimeout(reload, RETRY_MS);
    }
  }

  /** While more changes come than the feed tells one by one, once a second is live enough. */
  function reloadSoon() {
    burst ||= setTimeout(() => {
      burst = 0;
      reload();
    }, BURST_MS);
  }

  function open() {
    if (source !== null || document.hidden) return;
    source = new EventSource("/api/events");
    source.onopen = reload;
    source.onerror = () => {
      show("away.server");
      if (source.readyState === EventSource.CLOSED) {
        close();
        timer = setTimeout(open, RETRY_MS);
      }
    };
    source.addEventListener("resync", reload);
    source.addEventListener("store", (event) => {
      if (JSON.parse(event.data).state === "up") reload();
      else show("away.store");
    });
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        if (data.reload) reloadSoon();
        else handle(data);
      });
    }
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  // A tab nobody looks at costs nothing, and many tabs do not use up the browser's connections.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return reload;
}
