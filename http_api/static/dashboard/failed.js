// Shown in place of a part of the page that failed.
import { html, useErrorBoundary } from "./preact.js";

export function Boundary({ children }) {
  const [error] = useErrorBoundary((error) => console.error(error));
  if (!error) return children;
  return html`
    <div class="empty" role="alert">
      <h2>Something in this page failed</h2>
      <p><code>${error.message ?? String(error)}</code></p>
      <p>The server and its sessions are not affected.</p>
      <button class="primary" onClick=${() => location.reload()}>Reload</button>
    </div>`;
}
