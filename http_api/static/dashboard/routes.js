// The URL fragment selects the view. Links, Back and reloading all go through here.
import { useEffect, useState } from "./preact.js";

export const SESSIONS = "#/sessions";
export const SERVICES = "#/services";
export const START = "#/start";
export const sessionAt = (id) => `${SESSIONS}/${encodeURIComponent(id)}`;

/** { view: "sessions" | "services" | "start", id: of the selected session, or null }. PURE. */
export function routeOf(hash) {
  const [view, id] = hash.replace(/^#\/?/, "").split("/");
  if (view === "services" || view === "start") return { view, id: null };
  return { view: "sessions", id: view === "sessions" && id ? readable(id) : null };
}

function readable(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand
  }
}

export function useRoute() {
  const [route, show] = useState(() => routeOf(location.hash));
  useEffect(() => {
    const moved = () => show(routeOf(location.hash));
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return route;
}
