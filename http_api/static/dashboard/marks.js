// Icons of states. Each has its own shape and stands next to its word, so that color is never the only cue.
import { html } from "./preact.js";

const RING = html`<circle cx="8" cy="8" r="5.5" />`;
const FULL = html`<circle class="full" cx="8" cy="8" r="6.25" />`;
const CHECK = html`<path class="cut" d="M5.2 8.3l2 2 3.6-4.2" />`;
const CROSS = html`<path class="cut" d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4" />`;
const HALF = html`<path class="full" d="M8 2.5a5.5 5.5 0 0 1 0 11z" />`;
const QUARTER = html`<path class="full" d="M8 2.5a5.5 5.5 0 0 1 5.5 5.5H8z" />`;
const DOTTED = html`<circle class="dotted" cx="8" cy="8" r="5.5" />`;
const TRIANGLE = html`<path class="full" d="M8 1.5l7 12.5H1z" /><path class="cut" d="M8 6v3.6M8 11.7v.1" />`;
const SQUARE = html`<rect x="3" y="3" width="10" height="10" rx="2" />`;
const PLAY = html`<path class="cut" d="M6.6 5.4v5.2L10.6 8z" />`;

const SHAPES = {
  waiting: [RING, QUARTER],
  ready: [FULL, CHECK],
  active: [FULL, PLAY],
  degraded: [TRIANGLE],
  ended: [SQUARE],
  failed: [FULL, CROSS],
  pending: [DOTTED],
  invited: [RING],
  accepted: [RING, QUARTER],
  joined: [RING, HALF],
  lost: [FULL, CROSS],
  healthy: [FULL, CHECK],
  draining: [RING, HALF],
  suspended: [TRIANGLE],
  no_worker: [TRIANGLE],
  expired: [DOTTED],
  up: [FULL, CHECK],
  away: [TRIANGLE],
  live: [FULL, PLAY],
  connecting: [RING, QUARTER],
  broken: [TRIANGLE],
  refused: [FULL, CROSS],
};

export const Mark = ({ state }) =>
  html`<svg class="mark mark-${state}" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[state] ?? [RING]}</svg>`;

/** An icon with its word. */
export const State = ({ state, title, children }) =>
  html`<span class="state state-${state}" title=${title}><${Mark} state=${state} />${children ?? state}</span>`;
