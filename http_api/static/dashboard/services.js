// The registered services: state, load and remaining lease.
import { html } from "./preact.js";
import { Copyable } from "./copy.js";
import { withKey } from "./curl.js";
import { State } from "./marks.js";
import { ReplicaList } from "./replicas.js";
import { instant, read, span, useNow } from "./times.js";
import { INSTANCE_MEANS } from "./words.js";

const CURL = `curl -s ${new URL("api/v1/microservices/register", location.href)} -H 'Content-Type: application/json' \\
  -d '{"service_id": "asr-service", "endpoint": "http://127.0.0.1:9001/invites", "metadata": {"type": "ASR"}}'`;

export function ServiceList({ world }) {
  const { services } = world;
  const now = useNow(world.clock, 1_000);
  return html`
    <div class="services">
      <h2 id="services-title">Registered services <span class="quiet number">${services?.length || ""}</span></h2>
      ${services === null && html`<${NoScope} />`}
      ${services?.length === 0 && html`<${NoServices} caller=${world.caller} />`}
      ${services?.length > 0 && html`<${Table} services=${services} now=${now} />`}
      <${ReplicaList} world=${world} />
    </div>`;
}

const NoScope = () => html`
  <div class="empty">
    <h3>This key can't list services</h3>
    <p>It lacks the scope <code>services</code>.</p>
  </div>`;

const NoServices = ({ caller }) => html`
  <div class="empty">
    <h3>No services yet</h3>
    <p>
      Services register themselves or are defined in the SERVICES_FILE.${" "}
      <a href="docs#/services/microservices_register">Register one</a>:
    </p>
    <${Copyable} text=${withKey(CURL, caller)} label="Copy the command" />
  </div>`;

const Table = ({ services, now }) => html`
  <div class="table" role="region" aria-labelledby="services-title" tabindex="0">
    <table>
      <thead><tr>
        <th scope="col">Service</th><th scope="col">Type</th><th scope="col">State</th><th scope="col">In use</th>
        <th scope="col">Load</th><th scope="col">Lease</th><th scope="col">Endpoint</th>
      </tr></thead>
      <tbody>
        ${services.map((service) => html`<${Service} key=${service.service_id} service=${service} now=${now} />`)}
      </tbody>
    </table>
  </div>`;

function Service({ service, now }) {
  return html`
    <tr>
      <th scope="row">
        <span class="service-id">${service.service_id}</span>
        <small class="quiet">${saidOf(service)}</small>
      </th>
      <td data-name="Type">${service.type}</td>
      <td data-name="State"><${State} state=${service.state} title=${INSTANCE_MEANS[service.state]} /></td>
      <td data-name="In use"><${InUse} service=${service} /></td>
      <td data-name="Load"><${Load} service=${service} /></td>
      <td data-name="Lease"><${Lease} service=${service} now=${now} /></td>
      <td data-name="Endpoint" class="address"><${Address} service=${service} /></td>
    </tr>`;
}

function Address({ service: { endpoint, agent_name } }) {
  if (endpoint) return html`<code>${endpoint}</code>`;
  if (agent_name) return html`agent <code>${agent_name}</code>`;
  return html`<span class="quiet">another caller's</span>`;
}

function saidOf({ static: isStatic, metadata, labels }) {
  const version = metadata.version && `version ${metadata.version}`;
  const named = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return [isStatic && "from the SERVICES_FILE", version, ...named].filter(Boolean).join(", ");
}

function InUse({ service: { service_id, in_flight, capacity } }) {
  if (capacity === null) return html`<span class="number">${in_flight}</span> <small class="quiet">unlimited</small>`;
  return html`<${Meter} value=${in_flight / capacity} says="${in_flight} of ${capacity}" label="In use: ${service_id}" />`;
}

function Load({ service: { service_id, load } }) {
  if (load === null) return html`<span class="quiet">not reported</span>`;
  return html`<${Meter} value=${load} says="${Math.round(load * 100)} %" label="Load: ${service_id}" />`;
}

function Meter({ value, says, label }) {
  const percent = Math.min(100, Math.max(0, Math.round(value * 100)));
  return html`
    <span class="meter ${percent >= 90 ? "is-full" : ""}" role="meter" aria-label=${label} aria-valuetext=${says}
      aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent}>
      <span class="meter-bar"><span style=${{ width: `${percent}%` }}></span></span>
      <span class="number">${says}</span>
    </span>`;
}

function Lease({ service, now }) {
  if (service.lease_expires_at === null) return html`<span class="quiet">no expiry</span>`;
  const expires = read(service.lease_expires_at);
  if (expires <= now) return html`<span class="bad" title=${instant(expires)}>expired ${span(now - expires)} ago</span>`;
  return html`
    <span title="until ${instant(expires)}">
      <span class="number">${span(expires - now)}</span> left${" "}
      <small class="quiet">of ${span(service.lease_seconds * 1_000)}</small>
    </span>`;
}
