// What is shown instead of a part of the page that failed, so that nobody looks at an empty window.
import { html, useErrorBoundary } from "./preact.js";

export function Boundary({ children }) {
  const [error] = useErrorBoundary((error) => console.error(error));
  if (!error) return children;
  return html`
    <div class="empty" role="alert">
      <h2>Something in this page failed</h2>
      <p><code>${error.message ?? String(error)}</code></p>
      <p>The server and its sessions are not touched by it.</p>
      <button class="primary" onClick=${() => location.reload()}>Reload</button>
    </div>`;
}
