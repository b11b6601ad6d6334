// No module, so that it is there when a module is not: says so when the page can't be loaded.
addEventListener("error", ({ target, message }) => {
  const waiting = document.querySelector("#page > .starting");
  if (!waiting || (target !== window && target.localName !== "script")) return;
  const reload = document.createElement("button");
  reload.textContent = "Reload";
  reload.addEventListener("click", () => location.reload());
  const why = message || "A script of it did not come.";
  waiting.replaceChildren(`The page could not be loaded. ${why} `, reload);
  waiting.setAttribute("role", "alert");
}, true);
