import type { JobState } from '../../contract/job-state.ts';
import type { SyncReport } from '../../contract/reports.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';
import { xyChart } from './chart.ts';
import type { Section } from './document.ts';
import {
  type Block,
  code,
  details,
  facts,
  instant,
  leftColumns,
  list,
  paragraph,
  prose,
  type Span,
  span,
  strong,
  table,
} from './markdown.ts';
import type { NativeEvent } from './views.ts';

const ENDINGS = {
  running: 'runs',
  succeeded: 'ended as planned',
  failed: 'failed',
  stopped: 'was stopped',
  dead: 'died',
} as const;
const NOTES_MAX = 20;
const SKIPPED_MAX = 50;
const EVENTS_MAX = 50;

/** Where the copy stands, in one sentence with its numbers: of a sync, or of the link of the native route. */
export function syncVerdict(job: JobState): Span {
  const { progress, status } = job;
  const keys = formatCount(progress.keys);
  // A link job has done its work when the target has caught up; ElastiCache goes on replicating without it.
  const isGoingOn = status === 'running' || (job.kind === 'link' && status === 'succeeded');
  if (!isGoingOn) {
    const watched = job.kind === 'link' ? 'Watching the replication' : 'The sync';
    const ending = job.kind === 'link' ? '' : ` ${keys} keys had been copied.`;
    return span`${strong(`${watched} ${ENDINGS[status]}.`)}${ending}`;
  }
  if (progress.stage === 'live') {
    const copied = job.kind === 'link' ? 'The' : `${keys} keys copied; the`;
    return span`**Live.** ${copied} target follows the source and is ${behind(job)}.`;
  }
  const parts = [
    progress.percent === undefined ? undefined : `${Math.floor(progress.percent)}%`,
    job.kind === 'link'
      ? formatBytes(progress.bytes)
      : `${keys} keys at ${formatCount(progress.keysPerSecond)} keys/s`,
    progress.etaMs === undefined ? undefined : `about ${formatDuration(progress.etaMs)} to go`,
  ];
  return span`${strong(`${capitalised(progress.stage)}.`)} ${parts.filter((part) => part !== undefined).join(', ')}.`;
}

/** The table and the charts of a sync, and what it could not carry. */
export function syncSections(job: JobState | undefined, report: SyncReport | undefined): Section[] {
  const sections: Section[] = [{ weight: 'main', blocks: [skippedBlock(report)] }];
  if (job !== undefined) {
    sections.push(
      { weight: 'main', blocks: [progressTable(job)] },
      { weight: 'detail', blocks: charts(job) },
    );
  }
  if (report !== undefined) sections.push({ weight: 'detail', blocks: [reportTable(report)] });
  return sections;
}

/** What ElastiCache said about the replication group, folded. */
export function eventSection(events: readonly NativeEvent[] | undefined): Section {
  if (events === undefined || events.length === 0) return { weight: 'detail', blocks: [] };
  const title =
    events.length === 1 ? '1 event of ElastiCache' : `${formatCount(events.length)} events of ElastiCache`;
  return {
    weight: 'detail',
    blocks: [
      details(title, [
        table({
          columns: leftColumns('At', 'Message'),
          items: events,
          cells: ({ atMs, message }) => [instant(atMs), prose(message)],
          maxRows: EVENTS_MAX,
        }),
      ]),
    ],
  };
}

function behind(job: JobState): string {
  return `${lag(job) ?? 'an unknown distance'} behind`;
}

function lag({ progress: { lagBytes, lagMs } }: JobState): string | undefined {
  if (lagBytes === undefined) return undefined;
  return lagMs === undefined || lagBytes === 0
    ? formatBytes(lagBytes)
    : `${formatBytes(lagBytes)} (${formatDuration(lagMs)})`;
}

function progressTable(job: JobState): Block {
  const { progress } = job;
  const { percent, etaMs, bottleneck } = progress;
  const done = percent === undefined ? '' : ` (${Math.floor(percent)}%)`;
  const keys = job.kind === 'link' ? '' : `${formatCount(progress.keys)} keys, `;
  return facts({
    title: job.kind === 'link' ? 'Replication' : 'Sync',
    rows: [
      ['State', `${job.status}: ${progress.stage}`],
      ['Copied', `${keys}${formatBytes(progress.bytes)}${done}`],
      ['Pace', pace(job)],
      ['Lag', lag(job)],
      ['Time to go', etaMs === undefined ? undefined : formatDuration(etaMs)],
      ['Waits most for', bottleneck === undefined ? undefined : `the ${bottleneck}`],
      ['Running since', instant(job.startedAtMs)],
      ['Looked at', instant(job.updatedAtMs)],
    ],
  });
}

/** Undefined for a link, which does not measure it. */
function pace({ kind, progress }: JobState): string | undefined {
  if (kind === 'link') return undefined;
  return `${formatCount(progress.keysPerSecond)} keys/s, ${formatBytes(progress.bytesPerSecond)}/s`;
}

function charts(job: JobState): (Block | undefined)[] {
  const { notes } = job.progress;
  return [
    notes.length === 0
      ? undefined
      : list({ items: notes, show: prose, maxItems: NOTES_MAX, style: 'bullets' }),
    xyChart({ title: 'Copied', yTitle: 'percent', yMax: 100, points: series(job, 'percent') }),
    lagChart(job),
  ];
}

function lagChart(job: JobState): Block | undefined {
  const points = series(job, 'lagBytes');
  const top = points.reduce((highest, point) => Math.max(highest, point.y), 0);
  if (top === 0) return undefined;
  const scale = top >= 1024 ** 2 ? { name: 'MiB', bytes: 1024 ** 2 } : { name: 'KiB', bytes: 1024 };
  return xyChart({
    title: 'Lag behind the source',
    yTitle: scale.name,
    points: points.map(({ atMs, y }) => ({ atMs, y: y / scale.bytes })),
  });
}

function series(job: JobState, value: 'percent' | 'lagBytes'): { atMs: number; y: number }[] {
  return job.series.flatMap((point) => {
    const y = point[value];
    return y === undefined ? [] : [{ atMs: point.atMs, y }];
  });
}

function skippedBlock(report: SyncReport | undefined): Block | undefined {
  if (report === undefined || report.skipped.length === 0) return undefined;
  return table({
    columns: [...leftColumns('⚠️ Not carried over', 'Reason'), { title: 'Count', align: 'right' }],
    items: report.skipped,
    cells: ({ what, reason, count }) => [code(what), prose(reason), formatCount(count)],
    maxRows: SKIPPED_MAX,
  });
}

function reportTable(report: SyncReport): Block {
  const { checkpoint } = report;
  return details('What the sync did', [
    facts({
      title: 'Sync',
      rows: [
        ['Keys copied', `${formatCount(report.copiedKeys)}, ${formatBytes(report.copiedBytes)}`],
        ['Copy took', formatDuration(report.copyDurationMs)],
        ['Commands of the stream applied', formatCount(report.appliedCommands)],
        ['Reconnects', formatCount(report.reconnects)],
        ['Reconciled with a full copy', reconcilesOf(report)],
        ['Replication id', checkpoint === undefined ? undefined : code(checkpoint.replid)],
        ['Offset', checkpoint === undefined ? undefined : formatCount(checkpoint.offset)],
      ],
    }),
    paragraph('The offset is the place in the history of the source that the target has committed.'),
  ]);
}

function reconcilesOf({ reconciles, removedKeys = 0 }: SyncReport): string | undefined {
  if (reconciles === undefined) return undefined;
  return `${formatCount(reconciles)} times, ${formatCount(removedKeys)} keys removed that the source had no more`;
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
