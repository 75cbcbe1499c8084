import type { BenchmarkReport, LatencyReport, RoundTrips } from '../../contract/reports.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';
import { type Block, type Column, code, heading, type Phrase, paragraph, span, table } from './markdown.ts';

const ROWS_MAX = 40;
const TIMES = ['Median', 'p95', 'p99', 'Longest'];

/** How long the target takes to answer the host, without load of ours. */
export function latencyBlocks(report: LatencyReport | undefined): Block[] {
  if (report === undefined) return [];
  const rows = report.primaries.flatMap(({ address, pings, reads }) => [
    { address, request: 'PING', times: pings },
    { address, request: 'GET', times: reads },
  ]);
  return [
    heading(3, 'Latency'),
    table({
      columns: [left('Primary'), left('Request'), right('Requests'), ...TIMES.map(right)],
      items: rows,
      cells: ({ address, request, times }) => [
        code(address),
        request,
        formatCount(times.count),
        ...timeCells(times),
      ],
      maxRows: ROWS_MAX,
    }),
  ];
}

/** What the benchmark measured, with what it did to measure it. */
export function benchmarkBlocks(report: BenchmarkReport | undefined): Block[] {
  if (report === undefined) return [];
  const { keys, valueBytes, inFlight, writes, reads, removed } = report;
  const rest = removed
    ? span`All of them are removed.`
    : span`⚠️ Not all of them could be removed; what is left expires within a minute.`;
  return [
    heading(3, 'Benchmark'),
    paragraph(
      span`At ${code(report.address)}: ${formatCount(keys)} keys of its own of ${formatBytes(valueBytes)}, ${formatCount(inFlight)} requests at a time. ${rest}`,
    ),
    table({
      columns: [left('Request'), right('Requests'), right('Per second'), ...TIMES.map(right)],
      items: [
        { request: 'SET', part: writes },
        { request: 'GET', part: reads },
      ],
      cells: ({ request, part: { durationMs, roundTrips } }) => [
        request,
        formatCount(roundTrips.count),
        durationMs > 0 ? formatCount((roundTrips.count * 1000) / durationMs) : 'unknown',
        ...timeCells(roundTrips),
      ],
      maxRows: ROWS_MAX,
    }),
  ];
}

function timeCells({ medianMs, p95Ms, p99Ms, maxMs }: RoundTrips): Phrase[] {
  return [medianMs, p95Ms, p99Ms, maxMs].map(formatTime);
}

/** Round trips within a region take parts of a millisecond. */
function formatTime(durationMs: number): string {
  return durationMs < 10 ? `${durationMs.toFixed(2)} ms` : formatDuration(durationMs);
}

function left(title: string): Column {
  return { title, align: 'left' };
}

function right(title: string): Column {
  return { title, align: 'right' };
}
