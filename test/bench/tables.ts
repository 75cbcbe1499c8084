import { formatCount } from '../../src/core/units.ts';
import type { BenchReport, Ratio, Run } from './report.ts';
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
    section('Full comparison, values and expiry times, both directions', renderVerifications(report)),
    section('Runs that failed', renderFailures(report)),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

/** What keeps the verdicts from saying much. */
function caveats({ copy, live, catchUp, verify, scale }: BenchReport): string[] {
  const runs = [...copy, ...live, ...catchUp, ...verify];
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
  const rows = sets.flatMap((set) =>
    groups(copy.filter((run) => run.set === set.id)).map(([name, runs]) => [
      `${set.id} (${formatCount(set.items)} ${set.itemName}, RDB ${megabytes(set.rdbBytes)} MB)`,
      name,
      show(runs, ({ copyMs }) => copyMs),
      show(runs, ({ wholeMs }) => wholeMs),
      show(runs, ({ itemsPerSecond }) => itemsPerSecond),
      show(runs, ({ bytesPerSecond }) => bytesPerSecond, megabytes),
      ...resources(runs),
    ]),
  );
  return table(heading, rows);
}

function renderLive({ live }: BenchReport): string[][] {
  const lags = ['lag MB median/max', 'lag ms median/max', 'lag < 100 ms after ms', 'drained after ms'];
  const heading = ['by', 'source ops/s', 'applied/s', ...lags, ...RESOURCE_COLUMNS];
  const rows = groups(live).map(([name, runs]) => [
    name,
    Object.keys(runs[0]?.sourceOpsPerSecond ?? {})
      .map((command) => `${command} ${show(runs, (run) => run.sourceOpsPerSecond[command])}`)
      .join(' '),
    show(runs, ({ appliedPerSecond }) => appliedPerSecond),
    `${show(runs, ({ lagBytes }) => lagBytes?.median, megabytes)}/${show(runs, ({ lagBytes }) => lagBytes?.max, megabytes)}`,
    `${show(runs, ({ lagMs }) => lagMs?.median)}/${show(runs, ({ lagMs }) => lagMs?.max)}`,
    show(runs, ({ lagUnder100MsAfterMs }) => lagUnder100MsAfterMs),
    show(runs, ({ drainedAfterMs }) => drainedAfterMs),
    ...resources(runs),
  ]);
  return table(heading, rows);
}

function renderCatchUps({ catchUp }: BenchReport): string[][] {
  const rows = groups(catchUp).map(([name, runs]) => [
    name,
    show(runs, ({ commands }) => commands),
    show(runs, ({ catchUpMs }) => catchUpMs),
    show(runs, ({ appliedPerSecond }) => appliedPerSecond),
    ...resources(runs),
  ]);
  return table(['by', 'commands', 'ms', 'applied/s', ...RESOURCE_COLUMNS], rows);
}

function renderVerifications({ verify, sets }: BenchReport): string[][] {
  const rows = sets.flatMap((set) =>
    groups(verify.filter((run) => run.set === set.id)).map(([name, runs]) => [
      set.id,
      name,
      show(runs, ({ keys }) => keys),
      show(runs, ({ verifyMs }) => verifyMs),
      show(runs, ({ keysPerSecond }) => keysPerSecond),
      show(
        runs,
        ({ sourceMicrosecondsPerKey }) => sourceMicrosecondsPerKey,
        (value) => value.toFixed(2),
      ),
      ...resources(runs).slice(0, -1),
    ]),
  );
  const columns = RESOURCE_COLUMNS.slice(0, -1);
  return table(['set', 'by', 'keys', 'ms', 'keys/s', 'source µs/key', ...columns], rows);
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
  const seconds = (value: number) => value.toFixed(2);
  const differing = runs.find(({ difference }) => difference !== undefined);
  const isCompared = runs.every(({ contestant }) => contestant !== 'none');
  const noisy = runs.filter(({ isNoisy }) => isNoisy).length;
  return [
    [
      show(runs, ({ cpu }) => cpu.sourceSeconds, seconds),
      show(runs, ({ cpu }) => cpu.toolSeconds, seconds),
      show(runs, ({ cpu }) => cpu.targetSeconds, seconds),
    ].join('/'),
    show(runs, ({ toolPeakBytes }) => toolPeakBytes, megabytes),
    show(runs, ({ foreignShare }) => 100 * foreignShare) +
      (noisy > 0 ? ` % (${noisy} of ${runs.length} noisy)` : ' %'),
    differing?.difference ?? (isCompared ? 'equal' : '–'),
  ];
}

/** The runs of each contestant, in the order in which they first ran. */
function groups<Kind extends Run>(runs: readonly Kind[]): [string, Kind[]][] {
  const names = [...new Set(runs.map(({ contestant }) => contestant))];
  return names.map((name) => [name, runs.filter(({ contestant }) => contestant === name)]);
}

/** The median of a figure of the runs that have it. */
function show<Kind>(
  runs: readonly Kind[],
  figureOf: (run: Kind) => number | undefined,
  format = formatCount,
): string {
  const value = median(runs.flatMap((run) => figureOf(run) ?? []));
  return Number.isNaN(value) ? '–' : format(value);
}

function megabytes(bytes: number): string {
  const value = bytes / 1e6;
  return value < 10 ? value.toFixed(2) : value.toFixed(0);
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
