// PURE. Turns a session's timeline (GET api/v1/sessions/{id}/timeline) into lanes, one per attempt, with phases.
import { read } from "./times.js";

const ORDER = ["invited", "accepted", "joined", "ready", "out"];
const BEGINS = {
  invited: "invited", accepted: "accepted", joined: "joined", ready: "ready", left: "out", failed: "out",
};

/**
 * A lane: the attempt, its instants as { name, at }, its contiguous phases as { phase, from, to }, and its end.
 * Phases only move forward: a service that joins before its acceptance is known stays `joined`.
 */
export function laneOf(attempt, endsAt) {
  const instants = Object.entries(attempt.timeline)
    .map(([name, at]) => ({ name, at: read(at) }))
    .sort((a, b) => a.at - b.at || rankOf(a.name) - rankOf(b.name));
  const until = Math.max(read(attempt.until) ?? endsAt, instants.at(-1)?.at ?? -Infinity);
  const phases = [];
  for (const { name, at } of instants) {
    const last = phases.at(-1);
    if (last && rankOf(name) <= ORDER.indexOf(last.phase)) continue;
    if (last) last.to = at;
    phases.push({ phase: BEGINS[name], from: at, to: until });
  }
  return { attempt, instants, phases: phases.filter(({ from, to }) => to >= from), until };
}

/** The instants of an attempt as { name, at }. Simultaneous ones are one moment. */
export function momentsOf({ attempt, instants, until }) {
  const all = attempt.until ? [...instants, { name: "replaced", at: until }] : instants;
  const moments = [];
  for (const { name, at } of all) {
    if (moments.at(-1)?.at === at) moments.at(-1).name += ` and ${name}`;
    else moments.push({ name, at });
  }
  return moments;
}

const rankOf = (name) => ORDER.indexOf(BEGINS[name] ?? "invited");

/** All lanes, grouped by entry, in the order of attempts. */
export function lanesOf(timeline, now) {
  const endsAt = read(timeline.ended_at) ?? now;
  const attempts = [...timeline.attempts].sort((a, b) => a.entry - b.entry || a.attempt - b.attempt);
  return attempts.map((attempt) => laneOf(attempt, endsAt));
}

/**
 * The [from, to] ranges in which a service was awaited: the axis does not shorten these. Once the session is ready,
 * optional services are not awaited, so only the start of their later attempts counts.
 */
export function stretchesOf(timeline, lanes, now) {
  const started = read(timeline.created_at);
  const ready = read(timeline.ready_at);
  const decided = ready ?? read(timeline.ended_at) ?? now;
  const stretches = lanes.flatMap((lane) => {
    const cut = lane.attempt.optional && ready !== null ? ready : Infinity;
    return awaited(lane).map(([from, to]) => [from, Math.max(from, Math.min(to, cut))]);
  });
  return [[started, decided], ...stretches];
}

function awaited({ phases, until }) {
  if (!phases.length) return [];
  const ready = phases.find(({ phase }) => phase === "ready");
  const out = phases.find(({ phase }) => phase === "out");
  if (!ready) return [[phases[0].from, until]];
  const lost = out ? [[out.from, until]] : [[until, until]];
  return [[phases[0].from, ready.from], ...lost];
}
