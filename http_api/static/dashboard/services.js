// The registered services: how each is doing, how busy it is, and how long its lease still runs.
import { html } from "./preact.js";
import { Copyable } from "./copy.js";
import { State } from "./marks.js";
import { instant, read, span, useNow } from "./times.js";
import { INSTANCE_MEANS } from "./words.js";

const CURL = `curl -s ${new URL("api/v1/microservices/register", location.href)} -H 'Content-Type: application/json' \\
  -d '{"service_id": "asr-service", "endpoint": "http://127.0.0.1:9001/invites", "metadata": {"type": "ASR"}}'`;

export function ServiceList({ world }) {
  const now = useNow(world.clock, 1_000);
  return html`
    <div class="services">
      <h2 id="services-title">Registered services ${world.services?.length > 0 && html`<span class="quiet number">${world.services.length}</span>`}</h2>
      ${world.services === null && html`<${NoScope} />`}
      ${world.services?.length === 0 && html`<${NoServices} />`}
      ${world.services?.length > 0 && html`<${Table} services=${world.services} now=${now} />`}
    </div>`;
}

const NoScope = () => html`
  <div class="empty">
    <h3>This key does not show the services</h3>
    <p>It lacks the scope <code>services</code>.</p>
  </div>`;

const NoServices = () => html`
  <div class="empty">
    <h3>No services yet</h3>
    <p>A service registers itself, or stands in the SERVICES_FILE. <a href="docs#/services/microservices_register">How to register one</a>:</p>
    <${Copyable} text=${CURL} label="Copy the command" />
  </div>`;

const Table = ({ services, now }) => html`
  <div class="table" role="region" aria-labelledby="services-title" tabindex="0">
    <table>
      <thead><tr>
        <th scope="col">Service</th><th scope="col">Type</th><th scope="col">State</th><th scope="col">In use</th>
        <th scope="col">Load</th><th scope="col">Lease</th><th scope="col">Reached at</th>
      </tr></thead>
      <tbody>${services.map((service) => html`<${Service} key=${service.service_id} service=${service} now=${now} />`)}</tbody>
    </table>
  </div>`;

function Service({ service, now }) {
  const { capacity, in_flight, load } = service;
  const version = service.metadata.version;
  return html`
    <tr>
      <th scope="row"><span class="service-id">${service.service_id}</span>
        <small class="quiet">${[service.static ? "in the SERVICES_FILE" : "", version ? `version ${version}` : "", ...labels(service)].filter(Boolean).join(", ")}</small></th>
      <td data-name="Type">${service.type}</td>
      <td data-name="State"><${State} state=${service.state} title=${INSTANCE_MEANS[service.state]} /></td>
      <td data-name="In use">${capacity === null
        ? html`<span class="number">${in_flight}</span> <small class="quiet">no limit</small>`
        : html`<${Meter} value=${in_flight / capacity} says=${`${in_flight} of ${capacity}`} label=${`In use: ${service.service_id}`} />`}</td>
      <td data-name="Load">${load === null ? html`<span class="quiet">not told</span>` : html`<${Meter} value=${load} says=${`${Math.round(load * 100)} %`} label=${`Load: ${service.service_id}`} />`}</td>
      <td data-name="Lease"><${Lease} service=${service} now=${now} /></td>
      <td data-name="Reached at" class="address">${service.endpoint ? html`<code>${service.endpoint}</code>` : html`agent <code>${service.agent_name}</code>`}</td>
    </tr>`;
}

const labels = (service) => Object.entries(service.labels).map(([name, value]) => `${name}=${value}`);

function Meter({ value, says, label }) {
  const full = Math.min(1, Math.max(0, value));
  return html`
    <span class="meter ${full >= 0.9 ? "is-full" : ""}" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(full * 100)} aria-valuetext=${says}>
      <span class="meter-bar"><span style=${{ width: `${full * 100}%` }}></span></span><span class="number">${says}</span>
    </span>`;
}

function Lease({ service, now }) {
  if (service.lease_expires_at === null) return html`<span class="quiet">for ever</span>`;
  const expires = read(service.lease_expires_at);
  const left = expires - now;
  if (left <= 0) return html`<span class="bad" title=${instant(expires)}>over for ${span(-left)}</span>`;
  return html`<span title=${`until ${instant(expires)}`}><span class="number">${span(left)}</span> left <small class="quiet">of ${span(service.lease_seconds * 1_000)}</small></span>`;
}
