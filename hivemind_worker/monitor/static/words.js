// The page's words and its ways of writing figures, in the reader's language.

const words = JSON.parse(document.getElementById("words").textContent);
const language = document.documentElement.lang;

/** The word for a key, its {names} filled in. */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

const plain = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const hour = new Intl.DateTimeFormat(language, { timeStyle: "medium" });

export const number = (value) => plain.format(value);
export const percent = (value) => `${plain.format(Math.round(value))} %`;

/** 268435456 → "256 MiB" */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${plain.format(Number(value.toPrecision(3)))} ${units[unit]}`;
}

/** Seconds → "1.2 s", "3 m 5 s", "2 h 10 m", "3 d 4 h" */
export function duration(seconds) {
  if (seconds < 10) return `${plain.format(Math.round(seconds * 10) / 10)} s`;
  const total = Math.round(seconds);
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "m"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

/** 1 → "1 core", 1.5 → "1.5 cores" */
export const cores = (value) => t(value === 1 ? "core" : "cores", { count: number(value) });

export const clock = (iso) => moment.format(new Date(iso));
/** The same without the date where it is not far: what is hours away needs none. */
export const near = (iso) => (Math.abs(until(iso)) < 20 * 3600 ? hour.format(new Date(iso)) : clock(iso));
export const since = (iso, until = Date.now()) => Math.max(0, (until - Date.parse(iso)) / 1000);
/** Seconds that are left until then; less than nothing afterwards. */
export const until = (iso, from = Date.now()) => (Date.parse(iso) - from) / 1000;
