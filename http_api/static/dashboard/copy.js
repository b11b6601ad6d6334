// Text with a button that copies it.
import { html, useEffect, useState } from "./preact.js";

/** A block with a command. */
export const Copyable = ({ text, label }) => html`
  <div class="copyable">
    <pre tabindex="0">${text}</pre>
    <${CopyButton} text=${text} label=${label} />
  </div>`;

export function CopyButton({ text, label = "Copy" }) {
  const [result, say] = useState("");
  useEffect(() => {
    if (!result) return;
    const timer = setTimeout(() => say(""), 1_500);
    return () => clearTimeout(timer);
  }, [result]);
  const copy = async () => say((await copied(text)) ? "Copied" : "Not copied");
  return html`
    <button type="button" class="small copy" aria-label=${label} onClick=${copy}>${result || "Copy"}</button>
    <span class="unseen" role="status">${result}</span>`;
}

/** The Clipboard API exists only on https and localhost; fall back to execCommand elsewhere. */
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
