import { formatAddress } from '../../contract/endpoint.ts';
import type { JobState } from '../../contract/job-state.ts';
import { formatCount, formatDuration } from '../../core/units.ts';
import { checklist, checklistBack } from './checklist.ts';
import type { PhaseBody } from './document.ts';
import { benchmarkBlocks, latencyBlocks } from './latency.ts';
import {
  type Block,
  code,
  facts,
  instant,
  leftColumns,
  type Phrase,
  prose,
  type Span,
  span,
  table,
} from './markdown.ts';
import { eventSection, syncSections, syncVerdict } from './sync-progress.ts';
import type { StatusView } from './views.ts';

const JOBS_MAX = 20;
const SETTINGS_MAX = 20;
const NOTES_MAX = 4;

/** Where the migration stands: the record on the host, its jobs, and the target as AWS sees it. */
export function statusBody(view: StatusView): PhaseBody {
  return {
    verdict: verdict(view),
    sections: [
      {
        weight: 'main',
        blocks: [
          migrationTable(view),
          wayBackTable(view),
          targetTable(view),
          jobTable(view.jobs ?? []),
          tuningTable(view),
        ],
      },
      { weight: 'main', blocks: nextSteps(view) },
      { weight: 'main', blocks: [...latencyBlocks(view.latency), ...benchmarkBlocks(view.benchmark)] },
      ...syncSections(syncOf(view), undefined),
      eventSection(view.nativeEvents),
    ],
  };
}

function verdict(view: StatusView): Span | undefined {
  const { migration, jobs, target } = view;
  const wentBackAtMs = view.isWayBack === true ? migration?.completedAtMs : view.wentBackAtMs;
  if (wentBackAtMs !== undefined) {
    return span`**Gone back.** The source took over again at ${instant(wentBackAtMs)}.`;
  }
  if (migration?.completedAtMs !== undefined) {
    return span`**Completed.** The target took over at ${instant(migration.completedAtMs)}.`;
  }
  const cutover = jobs?.find(({ kind }) => kind === 'cutover');
  if (migration !== undefined && cutover?.status === 'running') {
    return span`**Cutting over.** The source may refuse writes; stage ${code(cutover.progress.stage)}.`;
  }
  if (migration !== undefined && view.cutover !== undefined) return CUTOVER_VERDICTS[view.cutover];
  const sync = syncOf(view);
  if (sync !== undefined) return syncVerdict(sync);
  if (migration !== undefined)
    return span`**Started** on route ${code(migration.route)}; no sync runs on the host.`;
  if (jobs === undefined && target === undefined) return undefined;
  return span`**None.** The host knows no migration of this id.`;
}

/** What a cutover came to whose run did not tell; nobody has marked the migration complete. */
const CUTOVER_VERDICTS: Readonly<Record<NonNullable<StatusView['cutover']>, Span>> = {
  proved: span`**Proved, not handed over.** The source refuses writes: run complete-migration again, or rollback.`,
  'handing-over': span`**Handing over.** That is decided, and the source refuses writes: run complete-migration again, which says what came of it.`,
  completed: span`**Handed over, not marked complete.** The target has everything and the source refuses writes: run complete-migration again before anybody is moved.`,
  doubted: span`**Handed over, and in doubt.** The fence fell, and the source takes writes: run complete-migration again, which compares, or rollback.`,
};

/** Only once the target has taken over. */
function nextSteps(view: StatusView): Block[] {
  const { migration, target, setup, fence, stragglers, tuning, wayBack } = view;
  if (migration?.completedAtMs === undefined) return [];
  const source = formatAddress(migration.source);
  if (view.isWayBack === true) {
    return checklistBack({ source, primary: formatAddress(migration.target), fence, stragglers });
  }
  if (view.wentBackAtMs !== undefined) {
    return checklistBack({ source: formatAddress(migration.target), primary: source });
  }
  const { primary, reader } = target ?? {};
  return checklist({ source, primary, reader, setup, fence, stragglers, tuning, wayBack });
}

function syncOf({ jobs }: StatusView): JobState | undefined {
  return jobs?.find((job) => job.kind === 'sync') ?? jobs?.find((job) => job.kind === 'link');
}

function migrationTable({ migration }: StatusView): Block | undefined {
  if (migration === undefined) return undefined;
  return facts({
    title: 'Migration',
    rows: [
      ['Repository', code(migration.repository)],
      ['Route', code(migration.route)],
      ['Source', code(formatAddress(migration.source))],
      ['Target', code(formatAddress(migration.target))],
      ['Started', instant(migration.createdAtMs)],
      ['Completed', migration.completedAtMs === undefined ? undefined : instant(migration.completedAtMs)],
    ],
  });
}

function wayBackTable({ wayBack }: StatusView): Block | undefined {
  if (wayBack === undefined) return undefined;
  return table({
    columns: leftColumns('Way back', 'Status', 'Stage', 'Looked at'),
    items: [wayBack],
    cells: (job) => [code(job.kind), jobStatus(job), job.progress.stage, instant(job.updatedAtMs)],
    maxRows: 1,
  });
}

function targetTable({ target }: StatusView): Block | undefined {
  if (target === undefined) return undefined;
  return facts({
    title: 'Target',
    rows: [
      ['Status', code(target.status)],
      ['Engine', `${target.engine} ${target.engineVersion}`],
      ['Primary endpoint', target.primary === undefined ? undefined : code(target.primary)],
      ['Reader endpoint', target.reader === undefined ? undefined : code(target.reader)],
    ],
  });
}

function tuningTable({ tuning }: StatusView): Block | undefined {
  if (tuning === undefined) return undefined;
  return table({
    columns: leftColumns('Setting of the source', 'For the sync', 'Before'),
    items: tuning.settings,
    cells: ({ name, before, set }) => [code(name), code(set), code(before)],
    maxRows: SETTINGS_MAX,
  });
}

function jobTable(jobs: readonly JobState[]): Block | undefined {
  if (jobs.length === 0) return undefined;
  const errors = jobs.some((job) => job.error !== undefined) ? leftColumns('Error') : [];
  return table({
    columns: [...leftColumns('Job', 'Status', 'Stage', 'Progress', 'Looked at'), ...errors],
    items: jobs,
    cells: (job) => [
      code(job.kind),
      jobStatus(job),
      job.progress.stage,
      jobProgress(job),
      instant(job.updatedAtMs),
      job.error === undefined ? '' : span`${code(job.error.code)} ${prose(job.error.message)}`,
    ],
    maxRows: JOBS_MAX,
  });
}

/** What a running job says of itself; a sync has sections of its own. */
function jobProgress({ kind, status, progress }: JobState): Phrase {
  if (status !== 'running' || kind === 'sync') return '';
  const { percent, keysPerSecond, etaMs, notes } = progress;
  const parts = [
    percent === undefined ? undefined : `${percent.toFixed(0)} %`,
    keysPerSecond > 0 ? `${formatCount(keysPerSecond)} keys/s` : undefined,
    etaMs === undefined ? undefined : `${formatDuration(etaMs)} left`,
    ...notes.slice(0, NOTES_MAX),
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function jobStatus({ status }: JobState): Phrase {
  const icons = { running: '⏳', succeeded: '✅', stopped: '⏹️', failed: '❌', dead: '❌' } as const;
  return `${icons[status]} ${status}`;
}
