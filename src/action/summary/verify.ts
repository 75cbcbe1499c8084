import type { Difference, DifferenceKind, VerifyReport } from '../../contract/reports.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';
import type { PhaseBody, Section } from './document.ts';
import {
  alert,
  type Block,
  type Column,
  code,
  details,
  facts,
  heading,
  instant,
  joined,
  leftColumns,
  paragraph,
  prose,
  type Span,
  span,
  table,
} from './markdown.ts';
import { skippedBlocks, skippedCounts } from './skipped.ts';
import type { VerifyView } from './views.ts';

const DATABASES_MAX = 64;
const KINDS_MAX = 20;
const TYPES_MAX = 50;
const DIFFERENCES_MAX = 100;
/** Up to so many differences are read where they stand; more of them are folded. */
const DIFFERENCES_OPEN_MAX = 10;

/** The words of a reviewer for each kind of difference. */
export const DIFFERENCE_KIND_WORDS = {
  missing: 'key at the source only',
  extra: 'key at the target only',
  type: 'other type',
  value: 'other value',
  ttl: 'other expiry time',
  'stream-metadata': 'other stream groups or ids',
  function: 'other function library',
} as const satisfies Record<DifferenceKind, string>;

/** The diff report: the verdict, where the differences are, and the first of them by name. */
export function verifyBody(view: VerifyView): PhaseBody {
  const { report } = view;
  if (report === undefined) return { sections: [] };
  return { verdict: verificationVerdict(report), sections: verificationSections(report) };
}

/** Equal or different, in one line: how many keys, how many differences, which scope, and when. */
export function verificationVerdict(report: VerifyReport): Span {
  const { total } = report.differences;
  const scope =
    report.scope === 'full' ? 'of all keys, in both directions' : `${deltaWords(report)}, in both directions`;
  const left = skippedCounts(report.skipped);
  const skipped = left === undefined ? '' : `; ⚠️ ${left} skipped`;
  const differences = `${formatCount(total)} ${total === 1 ? 'difference' : 'differences'}${skipped}`;
  const counts = `${formatCount(report.keysCompared)} keys compared (${scope}), ${differences}`;
  const at = instant(report.finishedAtMs);
  if (total === 0)
    return report.passed
      ? span`**Equal.** ${counts}, at ${at}.`
      : span`**Not proved.** ${counts} so far, at ${at}.`;
  const allowed = `${formatCount(report.maxDifferences)} allowed`;
  return report.passed
    ? span`**Different, within the allowance.** ${counts}, ${allowed}, at ${at}.`
    : span`**Different.** ${counts}, ${allowed}, at ${at}.`;
}

/** What a delta stands on. */
function deltaWords({ base }: VerifyReport): string {
  const since = 'which are all that changed since';
  if (base === undefined) return `${since} the last full verification began`;
  return `${since} the full verification of ${formatCount(base.keysCompared)} keys began`;
}

/** The sections of a verification, also for the one that a cutover ends with. */
export function verificationSections(report: VerifyReport): Section[] {
  return [
    { weight: 'main', blocks: skippedBlocks(report.skipped) },
    { weight: 'main', blocks: [fullReasonNote(report)] },
    { weight: 'main', blocks: [repairTable(report), kindTable(report), databaseTable(report)] },
    { weight: 'main', blocks: [inFlightNote(report), listNote(report)] },
    { weight: 'main', blocks: listedDifferences(report) },
    { weight: 'detail', blocks: [typeDetails(report)] },
    { weight: 'detail', blocks: [aboutDetails(report)] },
  ];
}

function kindTable(report: VerifyReport): Block | undefined {
  if (report.differences.byKind.length === 0) return undefined;
  return table({
    columns: [...leftColumns('Difference', 'What it means'), rightColumn('Count')],
    items: report.differences.byKind,
    cells: ({ kind, count }) => [code(kind), DIFFERENCE_KIND_WORDS[kind], formatCount(count)],
    maxRows: KINDS_MAX,
  });
}

function databaseTable(report: VerifyReport): Block | undefined {
  if (report.byDatabase.length === 0) return undefined;
  return table({
    columns: [
      ...leftColumns(''),
      rightColumn('Database'),
      rightColumn('Keys at source'),
      rightColumn('Keys at target'),
      rightColumn('Differences'),
    ],
    items: report.byDatabase,
    cells: (database) => [
      database.differences === 0 ? '✅' : '❌',
      database.db < 0 ? 'functions' : String(database.db),
      formatCount(database.sourceKeys),
      formatCount(database.targetKeys),
      formatCount(database.differences),
    ],
    maxRows: DATABASES_MAX,
  });
}

/** A delta was asked for: whoever waited so much longer wants to know why. */
function fullReasonNote({ fullReason }: VerifyReport): Block | undefined {
  if (fullReason === undefined) return undefined;
  return paragraph(span`All keys were compared, not only those that changed: ${prose(fullReason)}.`);
}

function inFlightNote(report: VerifyReport): Block | undefined {
  if (report.inFlight === 0) return undefined;
  const words =
    'changed while they were compared, or expired on one side first, and then settled equal: in flight, not different.';
  return paragraph(span`${formatCount(report.inFlight)} keys ${words}`);
}

/** Where all of them stand, and what of it is missing. */
function listNote({ list }: VerifyReport): Block | undefined {
  if (list === undefined) return undefined;
  const before = `All ${formatCount(list.keys + (list.keysCut ?? 0))} keys that differ`;
  if (list.cutBecause === undefined) {
    return paragraph(
      span`${before} are listed on the host: ${code(list.path)} (${formatBytes(list.bytes)}).`,
    );
  }
  const cut = `${formatCount(list.keys)} of the ${formatCount(list.keys + (list.keysCut ?? 0))} keys that differ are listed on the host`;
  return alert('WARNING', [
    paragraph(span`${cut} in ${code(list.path)}; the others are not: ${prose(list.cutBecause)}.`),
  ]);
}

function repairTable({ repair, differences }: VerifyReport): Block | undefined {
  if (repair === undefined) return undefined;
  const countOf = (rows: readonly { kind: DifferenceKind; count: number }[], kind: DifferenceKind) =>
    formatCount(rows.find((row) => row.kind === kind)?.count ?? 0);
  const failures = repair.failures.map(({ reason, count }) => span`${formatCount(count)} ${prose(reason)}`);
  const removed = repair.mode === 'differences' ? '' : `, ${formatCount(repair.removed)} removed`;
  const rounds = `${formatCount(repair.rounds)} ${repair.rounds === 1 ? 'round' : 'rounds'}`;
  const words = `${formatCount(repair.rewritten)} written anew${removed}, in ${rounds}; then compared again.`;
  return details(
    `Repaired: ${formatCount(repair.before.total)} differences before, ${formatCount(differences.total)} after`,
    [
      paragraph(span`${words}`),
      repair.before.list === undefined
        ? undefined
        : paragraph(span`What differed before is listed on the host: ${code(repair.before.list.path)}.`),
      failures.length === 0 ? undefined : paragraph(span`Not repaired: ${joined(failures, '; ')}`),
      table({
        columns: [...leftColumns('Difference'), rightColumn('Before'), rightColumn('After')],
        items: repair.before.byKind,
        cells: ({ kind, count }) => [code(kind), formatCount(count), countOf(differences.byKind, kind)],
        maxRows: KINDS_MAX,
      }),
    ],
  );
}

function listedDifferences(report: VerifyReport): Block[] {
  const { listed, total } = report.differences;
  if (listed.length === 0) return [];
  const block = table({
    columns: leftColumns('Database', 'Key', 'Type', 'Difference', 'Detail'),
    items: listed,
    cells: differenceCells,
    maxRows: DIFFERENCES_MAX,
    totalItems: total,
  });
  if (listed.length <= DIFFERENCES_OPEN_MAX) return [heading(3, 'Differences'), block];
  const shown = Math.min(listed.length, DIFFERENCES_MAX);
  return [details(`The first ${formatCount(shown)} of ${formatCount(total)} differences`, [block])];
}

function differenceCells(difference: Difference): readonly [string, Span, string, Span, Span] {
  const { db, key, type, kind, detail } = difference;
  return [db < 0 ? '' : String(db), code(key), type, span`${DIFFERENCE_KIND_WORDS[kind]}`, prose(detail)];
}

function typeDetails(report: VerifyReport): Block | undefined {
  if (report.byType.length === 0) return undefined;
  return details('By type', [
    table({
      columns: [...leftColumns('Type'), rightColumn('Keys'), rightColumn('Differences')],
      items: report.byType,
      cells: ({ type, keys, differences }) => [type, formatCount(keys), formatCount(differences)],
      maxRows: TYPES_MAX,
    }),
  ]);
}

function aboutDetails(report: VerifyReport): Block {
  return details('About this verification', [
    facts({
      title: 'Verification',
      rows: [
        ['Id', code(report.verificationId)],
        ['Scope', report.scope === 'full' ? 'all keys of both sides' : 'keys that changed'],
        ...baseRows(report),
        ['Source', code(report.sourceAddress)],
        ['Target', code(report.targetAddress)],
        ['Took', formatDuration(report.finishedAtMs - report.startedAtMs)],
        ['Differences allowed', formatCount(report.maxDifferences)],
      ],
    }),
  ]);
}

function baseRows({ base }: VerifyReport): [string, Span | string][] {
  if (base === undefined) return [];
  const { verificationId, startedAtMs, keysCompared } = base;
  return [
    ['Goes on from', span`${code(verificationId)}, ${formatCount(keysCompared)} keys`],
    ['Which began', new Date(startedAtMs).toISOString()],
  ];
}

function rightColumn(title: string): Column {
  return { title, align: 'right' };
}
