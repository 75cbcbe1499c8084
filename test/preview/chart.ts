/** A mermaid `xychart-beta` as the summaries write it. */
export type ParsedChart = {
  readonly title: string;
  readonly xTitle: string;
  readonly xRange: readonly [number, number];
  readonly yTitle: string;
  readonly yMax: number;
  readonly values: readonly number[];
};

/** Reads the chart that `xyChart` of the summaries wrote; undefined for any other diagram. */
export function parseChart(mermaid: string): ParsedChart | undefined {
  const title = /^ *title "([^"]*)"$/mu.exec(mermaid)?.[1];
  const x = /^ *x-axis "([^"]*)" ([-\d.]+) --> ([-\d.]+)$/mu.exec(mermaid);
  const y = /^ *y-axis "([^"]*)" 0 --> ([-\d.]+)$/mu.exec(mermaid);
  const line = /^ *line \[([-\d., ]+)\]$/mu.exec(mermaid)?.[1];
  if (!/^xychart-beta$/mu.test(mermaid) || title === undefined || line === undefined) return undefined;
  if (x === null || y === null) return undefined;
  return {
    title,
    xTitle: x[1] ?? '',
    xRange: [Number(x[2]), Number(x[3])],
    yTitle: y[1] ?? '',
    yMax: Number(y[2]),
    values: line.split(',').map(Number),
  };
}
