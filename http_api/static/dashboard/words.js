// Texts for the API's states and reasons. A new one in the API needs its text here.

export const SESSION_STATES = ["waiting", "ready", "active", "degraded", "ended", "failed"];
export const OVER = new Set(["ended", "failed"]);
export const GIVES_TOKENS = new Set(["ready", "active"]);

export const STATE_MEANS = {
  waiting: "not every required service is ready yet",
  ready: "every required service is ready; the user may join",
  active: "the user is in the room",
  degraded: "a required service was lost and is being replaced",
  ended: "over",
  failed: "over: it failed",
};

export const WHY_OVER = {
  closed: "It was ended by request.",
  user_left: "The user left and did not come back in time.",
  user_never_joined: "The user never joined.",
  expired: "It reached its maximum duration.",
  room_closed: "LiveKit closed the room.",
  client_gone: "The client disconnected while waiting.",
  ready_timeout: "Not every required service was ready in time.",
  service_lost: "A required service was lost and could not be replaced in time.",
  room_unavailable: "LiveKit did not create the room, or no manager joined it.",
};

export const WHY_NOT_READY = {
  not_registered: "is not registered",
  no_capacity: "has no capacity left",
  unreachable: "could not be reached",
  declined: "declined the invite",
  no_worker: "no worker took the agent's job",
  never_joined: "never joined the room",
  room_lost: "LiveKit lost its room",
  joined_not_ready: "joined, but never signaled ready",
  reported_failure: "reported a failure",
  left: "left the room",
};

export const AWAITED = { accept: "to accept its invite", join: "to join", ready: "to signal ready" };

export const EVIDENCE = {
  join: "by joining",
  message: "by a message in the room",
  attribute: "by its attribute",
  http: "by HTTP",
};

export const STEPS = {
  requested: "requested",
  room_requested: "room requested",
  room_lost: "room lost",
  room_created: "room created",
  manager_accepted: "manager accepted",
  manager_joined: "manager in the room",
  ready: "ready",
  user_joined: "user joined",
  user_left: "user left",
  ended: "over",
};

export const INSTANCE_MEANS = {
  healthy: "accepts sessions, up to its capacity",
  draining: "finishes its sessions and accepts no new ones",
  suspended: "suspended for a while after repeated failures",
  no_worker: "LiveKit found no worker for this agent",
  expired: "its lease has ended",
};

/** The text for a word of the API, or the word itself without underscores. */
export const inWords = (table, word) => table[word] ?? String(word).replaceAll("_", " ");

export const DEPENDENCIES = { livekit: "LiveKit", redis: "Redis" };
export const DEPENDENCY_STATES = { away: "is away", refuses_writes: "refuses writes" };

/** The name of a service: its id, or its type until one is chosen. */
export const nameOf = (service) => service.service_id ?? `any ${service.type}`;

export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** A whole number, as 12,345. Written out by hand: Intl is slow, and the counts are shown again at each change. */
export const number = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export const capital = (text) => text[0].toUpperCase() + text.slice(1);
