import { formatCount } from '../../src/core/units.ts';
import type { BenchReport, CopyRun, Ratio, Run } from './report.ts';
import { median } from './sampling.ts';

/** The report for people: ratios and verdicts first, then medians, then what every run used. */
export function renderReport(report: BenchReport): string {
  const { machine, source, target, rounds, scale } = report;
  const heading = [
    `${source} → ${target}, ${machine.cores} cores (${machine.cpuModel}), Node ${machine.node}`,
    `${rounds} rounds, scale ${scale}, contestants interleaved, fresh servers for every run, medians`,
    'A copy is measured from the line "asks for synchronization" in the log of the source until the target first shows',
    'that it has everything (our claim is live, the replica link is up, RedisShake has ended).',
    ...caveats(report),
  ];
  const parts = [
    heading.join('\n'),
    section('Ratios', renderRatios(report.ratios)),
    section('Targets', renderVerdicts(report)),
    section('Full copy', renderCopies(report)),
    section('Live, written to at full speed', renderLive(report)),
    section('Catching up with what waited at the source', renderCatchUps(report)),
    section('Runs that failed', renderFailures(report)),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

/** What keeps the verdicts from saying much. */
function caveats({ copy, live, catchUp, scale }: BenchReport): string[] {
  const runs = [...copy, ...live, ...catchUp];
  const noisy = runs.filter(({ isNoisy }) => isNoisy).length;
  return [
    ...(scale < 1 ? ['Smaller than life: starting up counts for more than it should.'] : []),
    ...(noisy > 0
      ? [`Others disturbed ${noisy} of ${runs.length} runs: measure again on a quiet machine.`]
      : []),
  ];
}

function renderRatios(ratios: readonly Ratio[]): string[][] {
  return ratios.map(({ of, what, contestant, against, ofMedians, byRound }) => [
    of,
    `${what} ${contestant} / ${against}`,
    ofMedians.toFixed(2),
    `by round ${byRound.map((value) => value.toFixed(2)).join(' ')}`,
  ]);
}

function renderVerdicts({ verdicts }: BenchReport): string[][] {
  return verdicts.map(({ name, limit, measured, verdict }) => [verdict, name, measured, limit]);
}

function renderCopies({ copy, sets }: BenchReport): string[][] {
  const heading = ['set', 'by', 'ms', 'whole ms', 'items/s', 'MB/s', ...RESOURCE_COLUMNS];
  return table(
    heading,
    sets.flatMap((set) =>
      groups(copy.filter((run) => run.set === set.id)).map(([name, runs]) => [
        `${set.id} (${formatCount(set.items)} ${set.itemName}, RDB ${megabytes(set.rdbBytes)} MB)`,
        name,
        formatCount(mid(runs, ({ copyMs }) => copyMs)),
        formatCount(mid(runs, ({ wholeMs }) => wholeMs)),
        formatCount(mid(runs, ({ itemsPerSecond }) => itemsPerSecond)),
        formatCount(mid(runs, ({ bytesPerSecond }: CopyRun) => bytesPerSecond / 1e6)),
        ...resources(runs),
      ]),
    ),
  );
}

function renderLive({ live }: BenchReport): string[][] {
  const heading = [
    'by',
    'source ops/s',
    'applied/s',
    'lag MB median/max',
    'lag ms median/max',
    '< 100 ms after',
    'drained after',
    ...RESOURCE_COLUMNS,
  ];
  return table(
    heading,
    groups(live).map(([name, runs]) => [
      name,
      Object.keys(runs[0]?.sourceOpsPerSecond ?? {})
        .map((command) => `${command} ${formatCount(mid(runs, (run) => run.sourceOpsPerSecond[command]))}`)
        .join(' '),
      orDash(
        mid(runs, ({ appliedPerSecond }) => appliedPerSecond),
        formatCount,
      ),
      orDash(
        mid(runs, ({ lagBytes }) => lagBytes?.median),
        megabytes,
        mid(runs, ({ lagBytes }) => lagBytes?.max),
      ),
      orDash(
        mid(runs, ({ lagMs }) => lagMs?.median),
        formatCount,
        mid(runs, ({ lagMs }) => lagMs?.max),
      ),
      orDash(
        mid(runs, ({ lagUnder100MsAfterMs }) => lagUnder100MsAfterMs),
        milliseconds,
      ),
      orDash(
        mid(runs, ({ drainedAfterMs }) => drainedAfterMs),
        milliseconds,
      ),
      ...resources(runs),
    ]),
  );
}

function renderCatchUps({ catchUp }: BenchReport): string[][] {
  return table(
    ['by', 'commands', 'ms', 'applied/s', ...RESOURCE_COLUMNS],
    groups(catchUp).map(([name, runs]) => [
      name,
      formatCount(mid(runs, ({ commands }) => commands)),
      formatCount(mid(runs, ({ catchUpMs }) => catchUpMs)),
      formatCount(mid(runs, ({ appliedPerSecond }) => appliedPerSecond)),
      ...resources(runs),
    ]),
  );
}

function renderFailures({ failures }: BenchReport): string[][] {
  return failures.map(({ what, contestant, round, message }) => [
    what,
    contestant,
    `round ${round}`,
    message.split('\n', 1)[0] ?? '',
  ]);
}

const RESOURCE_COLUMNS = ['CPU s source/tool/target', 'peak MB tool', 'others used', 'data'];

function resources(runs: readonly Run[]): string[] {
  const seconds = (figureOf: (run: Run) => number | undefined) =>
    orDash(mid(runs, figureOf), (value) => value.toFixed(2));
  const differing = runs.filter(({ difference }) => difference !== undefined);
  const isCompared = runs.every(({ contestant }) => contestant !== 'none');
  const noisy = runs.filter(({ isNoisy }) => isNoisy).length;
  return [
    [
      seconds(({ cpu }) => cpu.sourceSeconds),
      seconds(({ cpu }) => cpu.toolSeconds),
      seconds(({ cpu }) => cpu.targetSeconds),
    ].join('/'),
    orDash(
      mid(runs, ({ toolPeakBytes }) => toolPeakBytes),
      megabytes,
    ),
    `${(100 * mid(runs, ({ foreignShare }) => foreignShare)).toFixed(0)} %${noisy > 0 ? ` (${noisy} of ${runs.length} noisy)` : ''}`,
    differing[0]?.difference ?? (isCompared ? 'equal' : '–'),
  ];
}

/** The runs of each contestant, in the order in which they first ran. */
function groups<Kind extends Run>(runs: readonly Kind[]): [string, Kind[]][] {
  const names = [...new Set(runs.map(({ contestant }) => contestant))];
  return names.map((name) => [name, runs.filter(({ contestant }) => contestant === name)]);
}

function mid<Kind>(runs: readonly Kind[], figureOf: (run: Kind) => number | undefined): number {
  return median(runs.flatMap((run) => figureOf(run) ?? []));
}

function orDash(value: number, format: (value: number) => string, second?: number): string {
  if (Number.isNaN(value)) return '–';
  return second === undefined ? format(value) : `${format(value)}/${format(second)}`;
}

function megabytes(bytes: number): string {
  const value = bytes / 1e6;
  return value < 10 ? value.toFixed(2) : value.toFixed(0);
}

function milliseconds(durationMs: number): string {
  return `${durationMs.toFixed(0)} ms`;
}

function table(heading: string[], rows: string[][]): string[][] {
  return rows.length === 0 ? [] : [heading, ...rows];
}

function section(title: string, rows: readonly string[][]): string {
  if (rows.length === 0) return '';
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [title, ...lines.map((line) => `  ${line}`)].join('\n');
}
