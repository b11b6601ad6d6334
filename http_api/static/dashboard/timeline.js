// The timeline of a session: its steps, and a lane for each attempt.
import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { axisOf, endAfter } from "./axis.js";
import { lanesOf, momentsOf, stretchesOf } from "./lanes.js";
import { Mark } from "./marks.js";
import { duration, instant, read, round } from "./times.js";
import { awaitedOf, outcomeOf } from "./verdict.js";
import { STEPS, inWords, nameOf } from "./words.js";

const PHASES = { invited: "invited", accepted: "accepted", joined: "joined", ready: "ready", out: "left or failed" };

export function Timeline({ timeline, now }) {
  const from = read(timeline.created_at);
  const lanes = lanesOf(timeline, now);
  const to = endOf(timeline, lanes, from, now);
  const [ticks, width] = useWidth();
  const axis = axisOf(from, to, [...stretchesOf(timeline, lanes, now), [now, to]], width);
  return html`
    <section class="timeline" aria-labelledby="timeline-title">
      <h3 id="timeline-title">Timeline</h3>
      <${Steps} timeline=${timeline} from=${from} />
      ${lanes.length === 0 && html`<p class="quiet">This session needs no services.</p>`}
      ${lanes.length > 0 && html`
        <${Legend} hasBreaks=${axis.pieces.some(({ isBreak }) => isBreak)} />
        <div class="lane axis" aria-hidden="true"><span></span><div class="ticks" ref=${ticks}>
          ${axis.ticks.map((tick) => html`<${Tick} ...${tick} />`)}
        </div></div>
        <ol class="lanes">
          ${lanes.map((lane) => html`
            <${Lane} key="${lane.attempt.entry}.${lane.attempt.attempt}" ...${{ lane, axis, timeline, from, now }} />`)}
        </ol>`}
    </section>`;
}

/** [ref, current width in pixels] of an element. */
function useWidth() {
  const element = useRef();
  const [width, measure] = useState(undefined);
  useLayoutEffect(() => {
    if (!element.current) return;
    const resized = new ResizeObserver(([{ contentRect }]) => measure(contentRect.width));
    resized.observe(element.current);
    return () => resized.disconnect();
  }, [Boolean(element.current)]);
  return [element, width];
}

/** For a waiting session, a little ahead of now; for a degraded one, the last due time. */
function endOf(timeline, lanes, from, now) {
  if (timeline.ended_at) return Math.max(read(timeline.ended_at), ...lanes.map(({ until }) => until));
  if (timeline.state === "waiting") return from + endAfter(now - from);
  const dues = lanes.map(({ attempt }) => (attempt.until ? 0 : read(attempt.late?.due) ?? 0));
  return Math.max(now, from + 100, ...(timeline.state === "degraded" ? dues : []));
}

const Tick = ({ left, since, isFurther }) => html`
  <span class="tick ${left < 100 ? "" : "tick-last"}" style=${left < 100 ? { left: `${left}%` } : { right: 0 }}>
    ${isFurther ? "+" : ""}${round(since)}
  </span>`;

function Steps({ timeline, from }) {
  return html`
    <ol class="steps" aria-label="Steps of the session">
      ${timeline.steps.map(({ name, at }) => html`
        <li key=${name + at} class="step-${name}" title=${instant(read(at))}>
          ${inWords(STEPS, name)}${" "}
          <span class="number">${name === "requested" ? "0" : `+${duration(read(at) - from)}`}</span>
        </li>`)}
    </ol>`;
}

const Legend = ({ hasBreaks }) => html`
  <ul class="legend" aria-label="Phases of a service">
    ${Object.entries(PHASES).map(([phase, says]) => html`<li><span class="swatch phase-${phase}"></span>${says}</li>`)}
    ${hasBreaks && html`<li><span class="swatch break"></span>time not shown</li>`}
  </ul>`;

function Lane({ lane, axis, timeline, from, now }) {
  const { attempt } = lane;
  const moments = momentsOf(lane);
  const isPast = attempt.until !== null;
  const late = isPast || timeline.ended_at ? null : attempt.late;
  const isLostCause = isPast || (timeline.ended_at && attempt.reason);
  return html`
    <li class="lane ${isPast ? "is-past" : ""}">
      <div class="lane-name">
        <${Mark} state=${isLostCause ? "failed" : attempt.state} />
        <span class="lane-id" title=${nameOf(attempt)}>${nameOf(attempt)}</span>
        <span class="lane-kind">${kindOf(attempt)}</span>
      </div>
      <${Track} ...${{ lane, axis, late, isPast }} />
      <p class="lane-says">
        ${late
          ? html`<strong class="late">Waiting for it ${awaitedOf(late, now)}</strong>`
          : html`<strong>${outcomeOf(attempt)}</strong>`}
        ${attempt.tries > 1 && html`<span>sent <span class="number">${attempt.tries}</span> times</span>`}
        ${moments.map(({ name, at }, i) => html`
          <span key=${name} title=${instant(at)}>
            ${name}${" "}
            <span class="number">${i ? `after ${duration(at - moments[i - 1].at)}` : `+${duration(at - from)}`}</span>
          </span>`)}
      </p>
    </li>`;
}

const kindOf = ({ type, optional, attempt, until }) =>
  [type, optional && "optional", (attempt > 1 || until) && `attempt ${attempt}`].filter(Boolean).join(", ");

function Track({ lane, axis, late, isPast }) {
  const last = lane.phases.at(-1);
  const due = late && read(late.due);
  const isDueSeen = due && due <= axis.pieces.at(-1).to;
  return html`
    <div class="track" aria-hidden="true">
      ${axis.ticks.map(({ left }) => html`<span class="grid" style=${{ left: `${left}%` }}></span>`)}
      ${lane.phases.map(({ phase, from, to }) => {
        const [left, right] = [axis.at(from), axis.at(to)];
        const grows = late && phase === last.phase ? "grows" : "";
        const place = { left: `${left}%`, width: `${right - left}%` };
        return html`<span class="bar phase-${phase} ${grows}" key=${phase} style=${place}></span>`;
      })}
      ${axis.pieces.filter(({ isBreak }) => isBreak).map(({ from, to, left, width }) => html`
        <span class="break" style=${{ left: `${left}%`, width: `${width}%` }}
          title="not shown: ${duration(to - from)}"></span>`)}
      ${isPast && html`<span class="end" style=${{ left: `${axis.at(lane.until)}%` }}></span>`}
      ${isDueSeen && html`<span class="due" style=${{ left: `${axis.at(due)}%` }} title="due"></span>`}
    </div>`;
}
