// A virtual list: only visible rows are in the document. All rows have the same height. Arrow keys, Home, End and Page
// keys move; the focused row stays in the document when scrolled out of view. Added and removed rows do not move the
// visible ones.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { number } from "./words.js";

const MORE = 6; // extra rows beyond each edge, for fast scrolling

/**
 * @param items, keyOf: the rows and their keys.
 * @param height: height of a row, in pixels.
 * @param row: (item, props) => a row; `props` belong on its focusable element.
 * @param current: key of the selected row, or null.
 */
export function Rows({ items, keyOf, height, row, current, label }) {
  const box = useRef();
  const list = useRef({ top: null, offset: 0, seen: null, entry: 0, moved: false }).current;
  const [view, look] = useState({ top: 0, size: 600 });
  const [focused, focus] = useState(null);

  useEffect(() => {
    const see = () => look({ top: box.current.scrollTop, size: box.current.clientHeight });
    const resized = new ResizeObserver(see);
    resized.observe(box.current);
    return () => resized.disconnect();
  }, []);
  useLayoutEffect(() => () => holdsFocus(box.current) && document.getElementById("search")?.focus(), []);

  const indexOf = (key) => items.findIndex((item) => keyOf(item) === key);
  const noteTop = (top) => {
    [list.top, list.offset] = [keyOf(items[Math.min(items.length - 1, Math.floor(top / height))]), top % height];
    if (top > 0) return;
    list.seen = keyOf(items[0]);
    box.current.firstElementChild.style.minHeight = "";
  };

  // At the top, show new rows, unless the pointer or the focus is in the list.
  useLayoutEffect(() => {
    const { scrollTop, clientHeight } = box.current;
    const isHeld = scrollTop > 0 || box.current.matches(":hover") || holdsFocus(box.current);
    const at = isHeld ? indexOf(list.top) : -1;
    if (at < 0) return noteTop(scrollTop);
    const wanted = at * height + list.offset;
    box.current.firstElementChild.style.minHeight = wanted > 0 ? `${wanted + clientHeight}px` : "";
    if (Math.abs(scrollTop - wanted) > 0.5) box.current.scrollTop = wanted;
  }, [items]);

  useLayoutEffect(() => {
    const moved = list.moved && box.current.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (!moved) return; // or not rendered yet
    list.moved = false;
    moved.focus({ preventScroll: true });
  });

  const scrolled = () => {
    const top = box.current.scrollTop;
    noteTop(top);
    look({ top, size: box.current.clientHeight });
  };

  const moveTo = (to) => {
    list.moved = true;
    focus(keyOf(items[to]));
  };
  let entry = indexOf(focused ?? current);
  if (entry < 0 && focused !== null && holdsFocus(box.current)) {
    entry = Math.min(list.entry, items.length - 1); // the focused row is gone: focus its neighbor
    moveTo(entry);
  }
  list.entry = entry = Math.max(0, entry);
  const pressed = (event) => {
    const page = Math.max(1, Math.floor(view.size / height) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const to = Math.min(items.length - 1, Math.max(0, entry + by));
    moveTo(to);
    const { scrollTop, clientHeight } = box.current;
    if (to * height < scrollTop) box.current.scrollTop = to * height;
    if ((to + 1) * height > scrollTop + clientHeight) box.current.scrollTop = (to + 1) * height - clientHeight;
    scrolled();
  };

  const from = Math.max(0, Math.floor(view.top / height) - MORE);
  const to = Math.min(items.length, Math.ceil((view.top + view.size) / height) + MORE);
  const shown = new Set([entry]);
  for (let i = from; i < to; i++) shown.add(i);
  const fresh = view.top > 0 ? Math.max(0, indexOf(list.seen)) : 0;
  const toTheTop = () => {
    moveTo(0);
    box.current.scrollTop = 0;
    scrolled();
  };
  return html`
    <div class="frame">
      ${fresh > 0 && html`
        <button class="small fresh" onClick=${toTheTop}>↑ ${number(fresh)} new</button>`}
      <div class="rows" ref=${box} onScroll=${scrolled} onKeyDown=${pressed}>
        <ul aria-label=${label} style=${{ height: `${items.length * height}px` }}>
          ${[...shown].filter((i) => i < items.length).sort((a, b) => a - b).map((i) => {
            const key = keyOf(items[i]);
            const props = { "data-key": key, tabIndex: i === entry ? 0 : -1, onFocus: () => focus(key) };
            const place = { height: `${height}px`, transform: `translateY(${i * height}px)` };
            return html`
              <li key=${key} style=${place} aria-posinset=${i + 1} aria-setsize=${items.length}>
                ${row(items[i], props)}
              </li>`;
          })}
        </ul>
      </div>
    </div>`;
}

const holdsFocus = (element) => Boolean(element?.contains(document.activeElement));
