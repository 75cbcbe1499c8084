import { type Block, mermaid } from './markdown.ts';

/** Fewer points than this say nothing that a number does not say. */
export const CHART_POINTS_MIN = 3;
/** More points than this are not told apart at the width of a summary. */
export const CHART_POINTS_MAX = 30;

/** The colour of the default theme is almost that of the page, and its height pushes the rest out of sight. */
const STYLE =
  '%%{init: {"xyChart": {"width": 700, "height": 260}, "themeVariables": {"xyChart": {"plotColorPalette": "#2f81f7"}}}}%%';

/** A line over time. */
export type Chart = {
  readonly title: string;
  readonly yTitle: string;
  /** The top of the y axis; default is the highest point. */
  readonly yMax?: number | undefined;
  readonly points: readonly { readonly atMs: number; readonly y: number }[];
};

/**
 * Draws a line over time as a mermaid `xychart-beta`; undefined below {@link CHART_POINTS_MIN} points.
 *
 * mermaid spreads the values of a line evenly over a numeric x axis, so the points, which thinning has made uneven,
 * are read off at even distances first.
 */
export function xyChart(chart: Chart): Block | undefined {
  const points = chart.points.filter(({ atMs, y }) => Number.isFinite(atMs) && Number.isFinite(y));
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || points.length < CHART_POINTS_MIN) return undefined;
  if (last.atMs <= first.atMs) return undefined;

  const count = Math.min(points.length, CHART_POINTS_MAX);
  const values = Array.from({ length: count }, (_, index) =>
    valueAt(points, first.atMs + ((last.atMs - first.atMs) * index) / (count - 1)),
  );
  const unit = timeUnit(last.atMs);
  return mermaid([
    STYLE,
    'xychart-beta',
    `  title "${label(chart.title)}"`,
    `  x-axis "${unit.name}" ${number(first.atMs / unit.durationMs)} --> ${number(last.atMs / unit.durationMs)}`,
    `  y-axis "${label(chart.yTitle)}" 0 --> ${number(chart.yMax ?? Math.max(...values, 1))}`,
    `  line [${values.map(number).join(', ')}]`,
  ]);
}

type Point = Chart['points'][number];

function valueAt(points: readonly Point[], atMs: number): number {
  const after = points.findIndex((point) => point.atMs >= atMs);
  const right = points[after] ?? points.at(-1);
  const left = points[after - 1] ?? right;
  if (left === undefined || right === undefined) return 0;
  const gapMs = right.atMs - left.atMs;
  return gapMs <= 0 ? right.y : left.y + ((right.y - left.y) * (atMs - left.atMs)) / gapMs;
}

function timeUnit(durationMs: number): { name: string; durationMs: number } {
  if (durationMs < 180_000) return { name: 'seconds', durationMs: 1000 };
  if (durationMs < 10_800_000) return { name: 'minutes', durationMs: 60_000 };
  return { name: 'hours', durationMs: 3_600_000 };
}

/** Letters, digits and little else: a quote, a semicolon or a bracket ends a label in mermaid. */
function label(text: string): string {
  return text.slice(0, 80).replace(/[^A-Za-z0-9 .,%/-]+/gu, ' ');
}

/** At most two decimals and never an exponent, which mermaid does not read. */
function number(value: number): string {
  const bounded = Math.min(Math.max(value, -1e15), 1e15);
  return String(Number(bounded.toFixed(2)));
}
