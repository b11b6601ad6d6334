// Shows a problem document of the API (RFC 9457): what is wrong, by field and by service.
import { html } from "./preact.js";
import { shortfallOf } from "./verdict.js";

/** `without`: fields that show their own errors. */
export function ProblemNote({ problem, without = [] }) {
  const errors = problem.errors.filter(({ field }) => !without.includes(field));
  const services = problem.services.filter((service) => service.reason);
  return html`
    <div class="problem" role="alert">
      <p><strong>${problem.title}</strong> <span class="quiet">${problem.status || ""}</span></p>
      ${problem.detail && html`<p>${problem.detail}</p>`}
      ${services.length > 0 && html`<ul>${services.map((service) => html`<li>${shortfallOf(service)}</li>`)}</ul>`}
      ${errors.length > 0 && html`
        <ul>${errors.map(({ field, detail }) => html`<li><code>${field}</code> ${detail}</li>`)}</ul>`}
      ${problem.request_id && html`<p class="quiet">Request <code>${problem.request_id}</code></p>`}
    </div>`;
}
