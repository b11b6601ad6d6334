// A list of which only the rows in sight are in the document, however long it is. All rows are of one height. Arrow
// keys, Home, End and Page keys move; what has the focus stays in the document though it is out of sight.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";

const MORE = 6; // rows beyond either edge, for those who scroll fast

/**
 * @param items, keyOf: the rows, and what each is known by.
 * @param height: of a row, in pixels.
 * @param row: (item, props) => a row; `props` belong on the one thing in it that takes the focus.
 * @param current: the key of the row that is chosen, or null.
 */
export function Rows({ items, keyOf, height, row, current, label }) {
  const box = useRef();
  const list = useRef({ top: null, offset: 0, moved: false }).current;
  const [view, look] = useState({ top: 0, size: 600 });
  const [focused, focus] = useState(null);

  useEffect(() => {
    const see = () => look({ top: box.current.scrollTop, size: box.current.clientHeight });
    const resized = new ResizeObserver(see);
    resized.observe(box.current);
    return () => resized.disconnect();
  }, []);

  // Rows that come or go above must not move those that are looked at.
  useLayoutEffect(() => {
    const at = list.top === null ? -1 : items.findIndex((item) => keyOf(item) === list.top);
    if (at >= 0 && box.current.scrollTop > 0) {
      const wanted = at * height + list.offset;
      if (Math.abs(box.current.scrollTop - wanted) > 0.5) box.current.scrollTop = wanted;
    }
  }, [items]);

  useLayoutEffect(() => {
    if (!list.moved) return;
    list.moved = false;
    box.current.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  });

  const scrolled = () => {
    const top = box.current.scrollTop;
    const first = items[Math.floor(top / height)];
    [list.top, list.offset] = [first && top > 0 ? keyOf(first) : null, top % height];
    look({ top, size: box.current.clientHeight });
  };

  const entry = Math.max(0, items.findIndex((item) => keyOf(item) === (focused ?? current)));
  const pressed = (event) => {
    const page = Math.max(1, Math.floor(view.size / height) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const to = Math.min(items.length - 1, Math.max(0, entry + by));
    list.moved = true;
    focus(keyOf(items[to]));
    const { scrollTop, clientHeight } = box.current;
    if (to * height < scrollTop) box.current.scrollTop = to * height;
    if ((to + 1) * height > scrollTop + clientHeight) box.current.scrollTop = (to + 1) * height - clientHeight;
    scrolled();
  };

  const from = Math.max(0, Math.floor(view.top / height) - MORE);
  const to = Math.min(items.length, Math.ceil((view.top + view.size) / height) + MORE);
  const shown = new Set([entry]);
  for (let i = from; i < to; i++) shown.add(i);
  return html`
    <div class="rows" ref=${box} onScroll=${scrolled} onKeyDown=${pressed}>
      <ul aria-label=${label} style=${{ height: `${items.length * height}px` }}>
        ${[...shown].filter((i) => i < items.length).sort((a, b) => a - b).map((i) => {
          const key = keyOf(items[i]);
          const props = { "data-key": key, tabIndex: i === entry ? 0 : -1, onFocus: () => focus(key) };
          const place = { height: `${height}px`, transform: `translateY(${i * height}px)` };
          return html`
            <li key=${key} style=${place} aria-posinset=${i + 1} aria-setsize=${items.length}>${row(items[i], props)}</li>`;
        })}
      </ul>
    </div>`;
}
