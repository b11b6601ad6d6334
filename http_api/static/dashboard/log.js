// The server's log about one session.
import { html, useState } from "./preact.js";
import { duration, instant, read } from "./times.js";

const LEVELS = ["debug", "info", "warning", "error"];
const KNOWN = new Set(["timestamp", "level", "event", "logger", "session_id", "room", "room_name"]);
const rankOf = (level) => (level === "critical" ? LEVELS.length : Math.max(0, LEVELS.indexOf(level)));

/** `entries`: null if the caller may not read them. */
export function Log({ entries, from }) {
  const [least, choose] = useState("info");
  if (entries === null) {
    return html`
      <section class="log" aria-labelledby="log-title">
        <h3 id="log-title">Log</h3>
        <p class="quiet">Reading the log requires a key with the scope admin.</p>
      </section>`;
  }
  const shown = entries.filter((entry) => rankOf(entry.level) >= rankOf(least));
  return html`
    <section class="log" aria-labelledby="log-title">
      <div class="bar-of-title">
        <h3 id="log-title">Log</h3>
        <label>Minimum level <select value=${least} onChange=${(event) => choose(event.target.value)}>
          ${LEVELS.map((level) => html`<option value=${level}>${level}</option>`)}
        </select></label>
        <span class="quiet number">${shown.length} of ${entries.length}</span>
      </div>
      ${shown.length === 0 && html`
        <p class="quiet">${entries.length ? "No entries at this level." : "No entries for this session."}</p>`}
      ${shown.length > 0 && html`
        <ol class="entries" tabindex="0" aria-label="Log entries, oldest first">
          ${shown.map((entry, i) => html`<${Entry} key=${`${entry.timestamp}${i}`} entry=${entry} from=${from} />`)}
        </ol>`}
    </section>`;
}

function Entry({ entry, from }) {
  const at = read(entry.timestamp);
  const fields = Object.entries(entry).filter(([name, value]) => !KNOWN.has(name) && value !== null && value !== "");
  return html`
    <li class="entry level-${entry.level}">
      <span class="number" title=${instant(at)}>+${duration(Math.max(0, at - from))}</span>
      <span class="level">${entry.level}</span>
      <span class="said"><b>${entry.event}</b>${fields.map(([name, value]) => html`
        ${" "}<span class="pair"><i>${name}=</i>${tell(value)}</span>`)}</span>
    </li>`;
}

const tell = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
