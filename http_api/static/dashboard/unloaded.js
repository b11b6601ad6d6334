// Not a module, so that it runs when modules fail to load: shows that the page can't be loaded.
addEventListener("error", ({ target, message }) => {
  const waiting = document.querySelector("#page > .starting");
  if (!waiting || (target !== window && target.localName !== "script")) return;
  const reload = document.createElement("button");
  reload.textContent = "Reload";
  reload.addEventListener("click", () => location.reload());
  const why = message || "A script is missing.";
  waiting.replaceChildren(`The page could not be loaded. ${why} `, reload);
  waiting.setAttribute("role", "alert");
}, true);
