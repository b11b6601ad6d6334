// Text with a button that copies it.
import { html, useEffect, useState } from "./preact.js";

/** A command, a block of its own. */
export const Copyable = ({ text, label }) => html`
  <div class="copyable">
    <pre tabindex="0">${text}</pre>
    <${CopyButton} text=${text} label=${label} />
  </div>`;

export function CopyButton({ text, label = "Copy" }) {
  const [isCopied, say] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => say(false), 1_500);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = async () => say(await copied(text));
  return html`
    <button type="button" class="small" aria-label=${label} onClick=${copy}>${isCopied ? "Copied" : "Copy"}</button>`;
}

/** The clipboard's own API is there for https and localhost only; elsewhere the old way is left. */
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
