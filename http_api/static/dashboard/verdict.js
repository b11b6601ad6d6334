// PURE. The summary of a session: its state, what is awaited, and why it failed.
import { duration, read, span } from "./times.js";
import { AWAITED, EVIDENCE, OVER, WHY_NOT_READY, WHY_OVER, capital, inWords, list, nameOf, plural } from "./words.js";

/** { headline, lines }. `timeline` is null until it is loaded. */
export function verdictOf(session, timeline, now) {
  const required = session.services.filter((service) => !service.optional);
  const missing = required.filter((service) => service.state !== "ready");
  switch (session.state) {
    case "waiting":
      return {
        headline: waitingHeadline(session, required, missing, now),
        lines: awaitedLines(session, timeline, now),
      };
    case "ready":
      return {
        headline: `Ready${tookToBeReady(session)}. ${session.user_identity} may join.`,
        lines: [...shortfalls(session), ...awaitedLines(session, timeline, now)],
      };
    case "active":
      return {
        headline: `${session.user_identity} is in the room.`,
        lines: [...shortfalls(session), ...awaitedLines(session, timeline, now)],
      };
    case "degraded":
      return {
        headline: `Lost and being replaced: ${list(missing.map(nameOf))}. No new tokens until then.`,
        lines: [...shortfalls(session), ...awaitedLines(session, timeline, now)],
      };
  }
  const why = session.reason ? inWords(WHY_OVER, session.reason) : "It is over.";
  return { headline: why, lines: session.state === "failed" ? shortfalls(session) : [] };
}

function waitingHeadline(session, required, missing, now) {
  const left = read(session.ready_deadline) - now;
  const time = left > 0 ? `${span(left)} left.` : "Time is up.";
  if (!missing.length) return `All services are ready; almost done. ${time}`;
  return `${required.length - missing.length} of ${plural(required.length, "service")} ready. ${time}`;
}

const tookToBeReady = (session) =>
  session.ready_at ? ` after ${duration(read(session.ready_at) - read(session.created_at))}` : "";

/** A line for each service that is not ready and has a reason. */
function shortfalls(session) {
  return session.services
    .filter((service) => service.reason && service.state !== "ready")
    .map((service) => shortfallOf(service));
}

export const shortfallOf = (service) =>
  `${nameOf(service)} ${whyNotReady(service)}${service.optional ? " (optional)" : ""}`;

/** The reason of a service or an attempt, with what there is to say about it. */
const whyNotReady = ({ reason, detail }) => inWords(WHY_NOT_READY, reason) + (detail ? `: ${detail}` : "");

/** A line for each current attempt that is awaited. */
function awaitedLines(session, timeline, now) {
  if (!timeline || OVER.has(session.state)) return [];
  return timeline.attempts
    .filter((attempt) => attempt.late && !attempt.until)
    .map((attempt) => {
      const name = `${nameOf(attempt)}${attempt.optional ? " (optional)" : ""}`;
      return `Waiting for ${name} ${awaitedOf(attempt.late, now)}`;
    });
}

/** What a service is expected to do, how long it has been awaited, when it is due, and when it is invited again. */
export function awaitedOf({ awaited, since, due, retry_at }, now) {
  const waited = `${inWords(AWAITED, awaited)}, for ${duration(Math.max(0, now - read(since)))}`;
  const says = [waited, due && dueIn(read(due) - now), retry_at && againIn(read(retry_at) - now)];
  return says.filter(Boolean).join("; ");
}

const againIn = (left) => (left > 0 ? `invited again in ${duration(left)}` : "invited again now");

const dueIn = (left) => (left > 0 ? `due in ${duration(left)}` : `overdue by ${duration(-left)}`);

/** The outcome of one attempt, with the evidence of readiness. */
export function outcomeOf(attempt) {
  const why = attempt.reason && whyNotReady(attempt);
  if (attempt.until) return why ? `Replaced because it ${why}` : "Replaced";
  if (attempt.state === "ready") return `Ready${attempt.ready_by ? ` ${inWords(EVIDENCE, attempt.ready_by)}` : ""}`;
  if (why) return capital(why);
  return attempt.attempt === 0 ? "Not invited yet" : capital(attempt.state);
}
