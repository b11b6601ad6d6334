// Parsing and formatting of instants and durations, and the server's clock. All numbers are milliseconds.
import { useEffect, useState } from "./preact.js";

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];

/** An instant of the API (RFC 3339) as a number; null stays null. */
export const read = (text) => (text == null ? null : Date.parse(text));

/** A duration: 42 ms, 1.24 s, 12.3 s, 4 min 12 s, 2 h 5 min, 3 d 2 h. */
export function duration(ms) {
  const abs = Math.abs(ms);
  if (abs < 999.5) return `${Math.round(ms)} ms`;
  if (abs < 9_995) return `${(ms / SECOND).toFixed(2)} s`;
  if (abs < 59_950) return `${(ms / SECOND).toFixed(1)} s`;
  return wholes(ms);
}

/** The same, for the labels of an axis: 0, 500 ms, 2 s, 1.5 s. */
export const round = (ms) => (ms === 0 ? "0" : duration(ms).replace(/\.?0+ s$/, " s"));

/** A rough duration: 12 s, 4 min, 2 h, 3 d. */
export function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / SECOND));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

// Written out by hand: Intl is slow, and every row of a list has several.
const digits = (number, count = 2) => String(number).padStart(count, "0");

/** Local time of day, as 09:05:07; with milliseconds if `precise`. */
export function timeOfDay(at, precise = false) {
  const date = new Date(at);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => digits(part)).join(":");
  return precise ? `${time}.${digits(date.getMilliseconds(), 3)}` : time;
}

/** Local date and time, as 2026-11-25 09:05:07.042, for tooltips. */
export function instant(at) {
  const date = new Date(at);
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => digits(part)).join("-");
  return `${day} ${timeOfDay(at, true)}`;
}

function wholes(ms) {
  const units = [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [SECOND, "s"]];
  let rest = Math.round(Math.abs(ms) / SECOND) * SECOND;
  const at = units.findIndex(([size]) => rest >= size);
  const parts = units.slice(at, at + 2).map(([size, name]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count ? `${count} ${name}` : "";
  });
  return (ms < 0 ? "−" : "") + parts.filter(Boolean).join(" ");
}

const CLOCK_STEP = 5_000;

/**
 * The server's clock: the last time it sent, plus monotonic time since. A delayed message has an older time, so the clock
 * does not go back, unless by so much that the server's clock must have been set.
 */
export class Clock {
  #offset = Date.now() - performance.now();
  #isTold = false;

  learn(text) {
    const offset = read(text) - performance.now();
    if (!Number.isFinite(offset)) return;
    const behind = this.#offset - offset;
    if (!this.#isTold || behind < 0 || behind > CLOCK_STEP) this.#offset = offset;
    this.#isTold = true;
  }

  now() {
    return this.#offset + performance.now();
  }
}

/** The server's time, updated every `every` ms while the component is mounted; null: never. */
export function useNow(clock, every) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (every === null) return;
    const timer = setInterval(() => tick((count) => count + 1), every);
    return () => clearInterval(timer);
  }, [every]);
  return clock.now();
}
