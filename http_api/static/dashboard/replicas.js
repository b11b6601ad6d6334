// The replicas that serve the deployment together: their state, and the sessions for which each acts.
import { html } from "./preact.js";
import { State } from "./marks.js";
import { number } from "./words.js";

export function ReplicaList({ world }) {
  const replicas = world.health?.replicas ?? [];
  if (!replicas.length) return null;
  const most = Math.max(1, ...replicas.map(({ sessions }) => sessions));
  return html`
    <h2 id="replicas-title">Replicas <span class="quiet number">${replicas.length}</span></h2>
    <div class="table" role="region" aria-labelledby="replicas-title" tabindex="0">
      <table>
        <thead><tr>
          <th scope="col">Replica</th><th scope="col">State</th><th scope="col">Sessions</th><th scope="col">Version</th>
        </tr></thead>
        <tbody>
          ${replicas.map((replica) => html`
            <${Replica} key=${replica.id} replica=${replica} most=${most} isHere=${replica.id === world.health.replica_id} />`)}
        </tbody>
      </table>
    </div>`;
}

const Replica = ({ replica: { name, id, leads, draining, sessions, version }, most, isHere }) => html`
  <tr>
    <th scope="row">
      <span class="service-id">${name || id}</span>
      <small class="quiet">${says(leads, isHere)}</small>
    </th>
    <td data-name="State">
      ${draining
        ? html`<${State} state="draining" title="hands its sessions over and takes none" />`
        : html`<${State} state="healthy" title="takes sessions" />`}
    </td>
    <td data-name="Sessions">
      <span class="meter">
        <span class="meter-bar"><span style=${{ width: `${Math.round((100 * sessions) / most)}%` }}></span></span>
        <span class="number">${number(sessions)}</span>
      </span>
    </td>
    <td data-name="Version"><code>${version}</code></td>
  </tr>`;

const says = (leads, isHere) =>
  [isHere && "serves this page", leads && "compares sessions with LiveKit's rooms"].filter(Boolean).join(", ");
