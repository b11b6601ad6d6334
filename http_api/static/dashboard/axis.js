// PURE. Positions on the time axis, in percent of its width. Long stretches without activity are shortened to a break,
// so that a 300 ms start, a half-hour call and a replacement fit into one picture.

const BREAK_MIN = 3_000; // ms; shorter gaps are never shortened
const [BREAK_WIDTH, BREAKS_WIDTH_MAX] = [7, 42]; // percent: one break, all breaks
const PADDING = 0.04; // share of the unshortened time that is kept on each side of a break
const TICKS = 6;
const [TICK_DISTANCE, END_DISTANCE] = [62, 112]; // pixels: between labels, and from a label to the last one

/**
 * @param from, to: first and last instant.
 * @param stretches: [from, to] ranges that must not be shortened.
 * @param width: width of the axis in pixels.
 * @returns { pieces, ticks, at }: `pieces` are { from, to, left, width, isBreak } from left to right. `ticks` are
 *   { left, since, isFurther }: time since the start or, if isFurther, since the first tick of the same piece; the last
 *   tick is the end. at(instant) is a position in percent.
 */
export function axisOf(from, to, stretches, width = 700) {
  const gaps = gapsIn(from, to, stretches);
  const idle = (gap) => gap[1] - gap[0];
  const busy = to - from - gaps.reduce((sum, gap) => sum + idle(gap), 0);
  const padding = Math.max(busy, 200) * PADDING;
  const breaks = gaps
    .filter((gap) => idle(gap) > Math.max(BREAK_MIN, busy / 2))
    .map(([a, b]) => [a + padding, b - padding]);
  const pieces = placed(cut(from, to, breaks));
  const at = (instant) => placeOf(pieces, instant);
  return { pieces, ticks: ticksOf(pieces, from, at, width), at };
}

/** The gaps between the stretches. */
function gapsIn(from, to, stretches) {
  const gaps = [];
  let seen = from;
  for (const [a, b] of [...stretches].sort((x, y) => x[0] - y[0])) {
    if (a > seen) gaps.push([seen, Math.min(a, to)]);
    seen = Math.max(seen, b);
  }
  if (seen < to) gaps.push([seen, to]);
  return gaps.filter(([a, b]) => b > a);
}

function cut(from, to, breaks) {
  const pieces = [];
  let seen = from;
  for (const [a, b] of breaks) {
    pieces.push({ from: seen, to: a, isBreak: false }, { from: a, to: b, isBreak: true });
    seen = b;
  }
  return [...pieces, { from: seen, to, isBreak: false }];
}

function placed(pieces) {
  const count = pieces.filter(({ isBreak }) => isBreak).length;
  const breakWidth = count ? Math.min(BREAK_WIDTH, BREAKS_WIDTH_MAX / count) : 0;
  const linear = pieces.reduce((sum, { from, to, isBreak }) => sum + (isBreak ? 0 : to - from), 0);
  let left = 0;
  for (const piece of pieces) {
    const share = linear > 0 ? (piece.to - piece.from) / linear : 1;
    Object.assign(piece, { left, width: piece.isBreak ? breakWidth : share * (100 - count * breakWidth) });
    left += piece.width;
  }
  return pieces;
}

function placeOf(pieces, instant) {
  const [first, last] = [pieces[0], pieces.at(-1)];
  if (instant <= first.from) return 0;
  if (instant >= last.to) return 100;
  const { from, to, left, width } = pieces.find((piece) => instant <= piece.to);
  return left + ((instant - from) / (to - from)) * width;
}

/** Ticks at round times since the start, and at the start of each piece after a break. */
function ticksOf(pieces, start, at, width) {
  const linear = pieces.reduce((sum, { from, to, isBreak }) => sum + (isBreak ? 0 : to - from), 0);
  const step = roundUp(linear / TICKS);
  const inPixels = (percent) => (percent / 100) * width;
  const ticks = [];
  pieces.forEach((piece, number) => {
    if (piece.isBreak) return;
    for (let time = piece.from; time <= piece.to; time += step) {
      const left = at(time);
      const isFurther = number > 0 && time > piece.from;
      const isFree =
        inPixels(100 - left) >= END_DISTANCE &&
        (!ticks.length || inPixels(left - ticks.at(-1).left) >= TICK_DISTANCE);
      if (isFree) ticks.push({ left, since: time - (isFurther ? piece.from : start), isFurther });
    }
  });
  return [...ticks, { left: 100, since: pieces.at(-1).to - start, isFurther: false }];
}

const ROUND = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];

/** The next round step: 1, 2 or 5 times a power of ten below a second, then round seconds, minutes and hours. */
export function roundUp(ms) {
  if (ms > 500) return (ROUND.find((seconds) => seconds * 1_000 >= ms) ?? Math.ceil(ms / 86_400_000) * 86_400) * 1_000;
  const power = 10 ** Math.floor(Math.log10(Math.max(ms, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= ms);
}

const ENDS = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1_200];

/** The end of the axis of a running session: a little ahead of now, so that the axis grows in steps. */
export function endAfter(ms) {
  const seconds = ENDS.find((end) => end * 1_000 >= ms * 1.05);
  return seconds ? seconds * 1_000 : ms * 1.05;
}
