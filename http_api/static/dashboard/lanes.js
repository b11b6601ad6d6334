// PURE. A session's timeline (GET api/v1/sessions/{id}/timeline) as what is drawn: a lane for each attempt, in phases.
import { read } from "./times.js";

const ORDER = ["invited", "accepted", "joined", "ready", "out"];
const BEGINS = {
  invited: "invited", accepted: "accepted", joined: "joined", ready: "ready", left: "out", failed: "out",
};

/**
 * A lane: the attempt, its instants as { name, at }, its phases as { phase, from, to } without a gap, and until when.
 * A phase is the furthest that was reached: who joins before its acceptance was heard of does not fall back.
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

/** What happened to an attempt, and when: { name, at }. What happened at once is one moment. */
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

/** All lanes, the attempts for one entry together, in their order. */
export function lanesOf(timeline, now) {
  const endsAt = read(timeline.ended_at) ?? now;
  const attempts = [...timeline.attempts].sort((a, b) => a.entry - b.entry || a.attempt - b.attempt);
  return attempts.map((attempt) => laneOf(attempt, endsAt));
}

/**
 * The stretches of time in which somebody was awaited, as [from, to]: those that the axis does not shorten. Once the
 * session was ready it waits for nobody who is optional: of what he does then only the beginning counts.
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
