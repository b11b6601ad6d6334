// What the API's words mean to people. Whoever adds a state or a reason there adds its words here.

export const SESSION_STATES = ["waiting", "ready", "active", "degraded", "ended", "failed"];
export const OVER = new Set(["ended", "failed"]);
export const GIVES_TOKENS = new Set(["ready", "active"]);

export const STATE_MEANS = {
  waiting: "not every required service is ready yet",
  ready: "every required service is ready; the user may join",
  active: "the user is in the room",
  degraded: "a required service was lost and is being replaced",
  ended: "over",
  failed: "over: it came to nothing",
};

export const WHY_OVER = {
  closed: "It was ended by request.",
  user_left: "The user left and did not come back in time.",
  user_never_joined: "The user never joined.",
  expired: "It lasted as long as it may.",
  room_closed: "LiveKit closed the room.",
  client_gone: "Whoever asked for it went away while waiting.",
  ready_timeout: "Not every required service was ready in time.",
  service_lost: "A required service was lost and could not be replaced in time.",
  room_unavailable: "LiveKit did not make the room, or sent no manager into it.",
};

export const WHY_NOT_READY = {
  not_registered: "is not registered",
  no_capacity: "has no capacity left",
  unreachable: "could not be reached",
  declined: "declined the invite",
  never_joined: "never joined the room",
  joined_not_ready: "joined, but never said that it is ready",
  reported_failure: "said that it failed",
  left: "left the room",
};

export const AWAITED = { accept: "to accept its invite", join: "to join", ready: "to say that it is ready" };

export const EVIDENCE = {
  join: "as it joined",
  message: "by a message in the room",
  attribute: "by its attribute",
  http: "by HTTP",
};

export const STEPS = {
  requested: "requested",
  room_requested: "room asked for",
  room_created: "room made",
  manager_accepted: "manager sent",
  manager_joined: "manager in the room",
  ready: "ready",
  user_joined: "user joined",
  user_left: "user left",
  ended: "over",
};

export const INSTANCE_MEANS = {
  healthy: "may be given sessions, as far as it has room",
  draining: "finishes the sessions it has, and wants no new ones",
  suspended: "failed again and again, and is left alone for a while",
  expired: "its lease is over",
};

/** A word of the API's that has no words here yet: its own, readable. */
export const inWords = (table, word) => table[word] ?? String(word).replaceAll("_", " ");

export const DEPENDENCIES = { livekit: "LiveKit", redis: "Redis" };

/** What a service is called: by its id, or by its type until one is chosen. */
export const nameOf = (service) => service.service_id ?? `any ${service.type}`;

export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export const capital = (text) => text[0].toUpperCase() + text.slice(1);
