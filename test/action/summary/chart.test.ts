import { describe, expect, it } from 'vitest';
import { CHART_POINTS_MAX, xyChart } from '../../../src/action/summary/chart.ts';
import { joinBlocks } from '../../../src/action/summary/markdown.ts';
import { parseChart } from '../../preview/chart.ts';
import { HOSTILE_TEXTS } from './hostile-texts.ts';

const GRAMMAR =
  /^```mermaid\n%%\{init: [\w{}:", #]+\}%%\nxychart-beta\n {2}title "[\w .,%/-]*"\n {2}x-axis "[a-z]+" -?[\d.]+ --> -?[\d.]+\n {2}y-axis "[\w .,%/-]*" 0 --> [\d.]+\n {2}line \[-?[\d.]+(?:, -?[\d.]+)*\]\n```$/u;

describe('a chart', () => {
  it('is not drawn below three points or without any time between them', () => {
    const points = [1, 2, 3].map((y) => ({ atMs: y * 1000, y }));
    expect(xyChart({ title: 'T', yTitle: 'y', points: points.slice(0, 2) })).toBeUndefined();
    expect(
      xyChart({ title: 'T', yTitle: 'y', points: points.map(({ y }) => ({ atMs: 5, y })) }),
    ).toBeUndefined();
    expect(xyChart({ title: 'T', yTitle: 'y', points })).toBeDefined();
  });

  it('reads uneven samples off at even distances', () => {
    const points = [0, 1, 2, 10].map((seconds) => ({ atMs: seconds * 1000, y: seconds * 10 }));
    const chart = draw({ points });
    expect(chart.xRange).toEqual([0, 10]);
    expect(chart.values.map((value) => Math.round(value))).toEqual([0, 33, 67, 100]);
  });

  it('has a bounded number of points', () => {
    const points = Array.from({ length: 5000 }, (_, index) => ({ atMs: index * 60_000, y: index }));
    expect(draw({ points }).values).toHaveLength(CHART_POINTS_MAX);
    expect(draw({ points }).xTitle).toBe('hours');
  });

  it('keeps the grammar of mermaid whatever its labels and numbers are', () => {
    for (const text of HOSTILE_TEXTS) {
      const points = [1e21, 1e-9, Number.NaN, 0.1 + 0.2, 7].map((y, index) => ({ atMs: index * 1000, y }));
      expect(joinBlocks([xyChart({ title: text, yTitle: text, points })])).toMatch(GRAMMAR);
    }
  });
});

function draw({ points }: { points: readonly { atMs: number; y: number }[] }) {
  const markdown = joinBlocks([xyChart({ title: 'Copied', yTitle: 'percent', points })]);
  const chart = parseChart(markdown.replace(/^```mermaid\n|\n```$/gu, ''));
  if (chart === undefined) throw new Error(`not a chart: ${markdown}`);
  return chart;
}
