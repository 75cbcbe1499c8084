import { readAction } from '../workflows/workflow-files.ts';
import { readPage } from './pages.ts';

/** A few words of the documentation with a number in them, and where that number comes from. */
export type NumberFact = {
  /** The words as they stand on the pages, whatever the line breaks. */
  readonly text: string;
} & (
  | { /** What the number must be, in milliseconds, bytes, or as it is. */ readonly value: number }
  | { /** Why no constant of ours can tell. */ readonly because: string }
);

const SECOND_MS = 1000;
const YEAR_MS = 365.25 * 24 * 3600 * SECOND_MS;

/** Every number on the pages outside of generated parts, code, and names of versions. */
export function numberFacts(): readonly NumberFact[] {
  const padMs = constantOf('src/agent/redis/expiry-pad.ts', 'EXPIRY_PAD_MS');
  const listedMax = constantOf('src/contract/reports.ts', 'DIFFERENCES_LISTED_MAX');
  const diskReserve = constantOf('src/agent/redis/spool.ts', 'DISK_RESERVE_BYTES');
  const lastingPauseMs = constantOf('src/agent/cutover/fence.ts', 'LASTING_PAUSE_MS');
  const leaseOf = (step: string) => constantOf('src/agent/cutover/state.ts', `${step}_LEASE_MS`);
  const copiesInARow = constantOf('src/agent/sync/copy-budget.ts', 'COPIES_IN_A_ROW_MAX');
  const backlogSeconds =
    constantOf('src/agent/tune/plan.ts', 'BACKLOG_SECONDS') *
    constantOf('src/agent/tune/plan.ts', 'BACKLOG_MARGIN');
  return [
    // The copy and the stream.
    { text: '512 MB as the server', value: constantOf('src/agent/sync/copy-encoder.ts', 'BULK_BYTES_MAX') },
    { text: 'that disk 1 GB always stays free', value: diskReserve },
    { text: 'leaves 1 GB of the disk free', value: diskReserve },
    { text: 'three full copies in a row', value: copiesInARow },
    { text: 'Three full copies in a row', value: copiesInARow },
    {
      text: 'five minutes without a connection',
      value: constantOf('src/agent/sync/patience.ts', 'RECONNECT_MAX_MS'),
    },
    { text: 'some 71,000 years', value: Math.floor(padMs / YEAR_MS / 1000) * 1000 },
    { text: '(2^51 ms)', value: padMs },
    { text: 'more than 5 ms away', value: constantOf('src/agent/tune/plan.ts', 'FAR_LATENCY_MS') },
    { text: 'four times the writes', value: constantOf('src/agent/tune/plan.ts', 'OUTPUT_BUFFER_MARGIN') },
    { text: 'two minutes of writes', value: backlogSeconds * SECOND_MS },
    {
      text: 'lists them, up to 64 MiB',
      value: constantOf('src/agent/sync/skip-list.ts', 'SKIP_LIST_BYTES_MAX'),
    },
    {
      text: 'more than 256 MiB of names of keys',
      value: constantOf('src/agent/touched/generation.ts', 'TOUCHED_BYTES_MAX'),
    },
    // Targets in cluster mode.
    {
      text: 'of more than 4 MB, or with',
      value: constantOf('src/agent/sync/cluster/lanes.ts', 'TRANSACTION_BYTES_MAX'),
    },
    {
      text: 'value of more than 1 MB',
      value: constantOf('src/agent/sync/cluster/lanes.ts', 'LARGE_COMMAND_BYTES'),
    },
    {
      text: 'more than 7,000 arguments',
      value: constantOf('src/agent/sync/cluster/batch-script.ts', 'BATCH_COMMAND_ARGUMENTS_MAX'),
    },
    {
      text: 'target are at most 32',
      value: constantOf('src/agent/redis/cluster/source-cluster.ts', 'SHARD_PAIRS_MAX'),
    },
    {
      text: 'at most 32 pairs of a primary',
      value: constantOf('src/agent/redis/cluster/source-cluster.ts', 'SHARD_PAIRS_MAX'),
    },
    {
      text: 'At most 32 primaries are served',
      value: constantOf('src/agent/redis/cluster/source-cluster.ts', 'SOURCE_SHARDS_MAX'),
    },
    { text: '32 to one, 8 to 4, 5 to 6', because: 'products that do not exceed the limit before it' },
    {
      text: 'a look every 2 seconds',
      value: constantOf('src/agent/sync/shards/sync-shards.ts', 'LAYOUT_MS'),
    },
    { text: 'Three times in a row', value: copiesInARow },
    {
      text: 'five minutes of moving slots',
      value: constantOf('src/agent/sync/patience.ts', 'RECONNECT_MAX_MS'),
    },
    { text: 'At most 128 primaries', value: constantOf('src/contract/reports.ts', 'PRIMARIES_MAX') },
    { text: 'database 0 only', because: 'the only database of a cluster' },
    { text: 'three round trips each', because: 'it counts the steps of a command' },
    // Verification.
    { text: 'Up to 1,000 differences', value: listedMax },
    { text: 'the first 1,000 of them', value: listedMax },
    { text: 'the first 1,000 in the JSON report', value: listedMax },
    {
      text: 'Up to ten differences stand open',
      value: constantOf('src/action/summary/verify.ts', 'DIFFERENCES_OPEN_MAX'),
    },
    { text: 'up to 100 in a fold', value: constantOf('src/action/summary/verify.ts', 'DIFFERENCES_MAX') },
    {
      text: 'disk down to 256 MiB',
      value: constantOf('src/agent/verify/difference-list.ts', 'DISK_RESERVE_BYTES'),
    },
    {
      text: 'Up to 2,048 of them',
      value: constantOf('src/agent/verify/suspects.ts', 'SUSPECTS_IN_MEMORY_MAX'),
    },
    {
      text: 'up to 1 GiB or a quarter',
      value: constantOf('src/agent/verify/suspects.ts', 'BYTES_ON_DISK_MAX'),
    },
    {
      text: 'compared again, up to five times',
      value: constantOf('src/agent/verify/mender.ts', 'ROUNDS_MAX'),
    },
    {
      text: 'Values of more than 8 MiB',
      value: constantOf('src/agent/repair/mend-keys.ts', 'WHOLE_BYTES_MAX'),
    },
    {
      text: 'modules of more than 32 MiB',
      value: constantOf('src/agent/repair/mend-keys.ts', 'PIECELESS_BYTES_MAX'),
    },
    { text: '**Equal.**, 0 differences', because: 'nothing differs' },
    { text: '| 0, or a number that somebody', because: 'nothing differs' },
    { text: '| 0, unless', because: 'nothing differs' },
    { text: '| 0 | equal', because: 'an exit status, which test/agent runs into' },
    { text: '| 1 | different', because: 'an exit status, which test/agent runs into' },
    { text: '| 2 | could not tell', because: 'an exit status, which test/agent runs into' },
    // The cutover.
    {
      text: 'must not be 1000000',
      value: constantOf('src/agent/cutover/fence-by-replicas.ts', 'FENCE_REPLICAS'),
    },
    { text: '(the default is 0)', because: 'a default of the servers' },
    { text: 'itself 24 hours after the hand-over', value: lastingPauseMs },
    { text: 'ends, 24 hours after the hand-over', value: lastingPauseMs },
    { text: 'ends 24 hours after the hand-over', value: lastingPauseMs },
    { text: 'lifts the fence two minutes later', value: leaseOf('PROVED') },
    { text: 'lifts the fence two minutes after the proof', value: leaseOf('PROVED') },
    { text: 'asks the target: five minutes later', value: leaseOf('DECIDED') },
    { text: 'or 15 minutes where the runner had said', value: leaseOf('ACCEPTED') },
    { text: 'asks the target, after five minutes', value: leaseOf('DECIDED') },
    { text: 'or 15 minutes where ElastiCache had accepted', value: leaseOf('ACCEPTED') },
    { text: 'five minutes after the last word of the run', value: leaseOf('DECIDED') },
    {
      text: 'wait up to five seconds for that error',
      value: constantOf('src/agent/cutover/fence-by-replicas.ts', 'PAUSE_MS'),
    },
    { text: 'falls before 5 is done', because: 'a step of the list above it' },
    { text: 'One that falls after 5', because: 'a step of the list above it' },
    { text: 'two seconds after its budget', value: constantOf('src/agent/cutover/keeper.ts', 'GRACE_MS') },
    { text: 'When 4 does not fit', because: 'a step of the list above it' },
    { text: '5 is not cut short', because: 'a step of the list above it' },
    { text: 'enabled, 5 restores', because: 'a step of the list above it' },
    { text: 'before the wait of 4 begins', because: 'a step of the list above it' },
    { text: 'slots that move, let 4 fail.', because: 'a step of the list above it' },
    { text: 'let 4 fail, and let 5 go over', because: 'a step of the list above it' },
    { text: 'When 5 is interrupted', because: 'a step of the list above it' },
    { text: 'places, and 5 ends with', because: 'a step of the list above it' },
    // The target after the cutover.
    { text: 'maximum of 500 requests', value: constantOf('src/agent/latency/job.ts', 'REQUESTS') },
    { text: 'within four seconds together', value: constantOf('src/agent/latency/job.ts', 'BUDGET_MS') },
    {
      text: 'writes and reads 1,000 keys of its own',
      value: constantOf('src/agent/benchmark/job.ts', 'KEYS'),
    },
    { text: 'remove up to 1,000 keys of its own', value: constantOf('src/agent/benchmark/job.ts', 'KEYS') },
    { text: 'of 128 bytes', value: constantOf('src/agent/benchmark/job.ts', 'VALUE_BYTES') },
    { text: '16 requests at a time', value: constantOf('src/agent/benchmark/job.ts', 'IN_FLIGHT') },
    { text: 'up to 10,000 writes', value: constantOf('src/agent/benchmark/job.ts', 'COMMANDS_MAX') },
    { text: '10,000 reads', value: constantOf('src/agent/benchmark/job.ts', 'COMMANDS_MAX') },
    { text: 'three seconds of each', value: constantOf('src/agent/benchmark/job.ts', 'PART_MS') },
    {
      text: 'for six seconds at most',
      value: 2 * constantOf('src/agent/benchmark/job.ts', 'PART_MS'),
    },
    // The action and its host.
    {
      text: 'itself, up to five times in a row',
      value: constantOf('src/action/host/job.ts', 'POLL_FAILURES_MAX'),
    },
    { text: '(330 by default)', value: defaultOf('wait-timeout-minutes') },
    { text: '(1440 by default', value: defaultOf('verification-max-age-minutes') },
    { text: '3600 by default', value: workflowDefaultOf('role-duration-seconds') },
    { text: 'at least `1MB`', value: constantOf('src/contract/jobs.ts', 'SOURCE_BYTES_PER_SECOND_LEAST') },
    {
      text: 'in the stream, at least 100',
      value: constantOf('src/contract/jobs.ts', 'TARGET_COMMANDS_PER_SECOND_LEAST'),
    },
    {
      text: 'none of version 20 or later',
      because: 'the version of Node.js, which test/action/host tries out',
    },
    { text: 'after six hours', because: 'a limit of GitHub for a job' },
    { text: 'waits 30 days at most', because: 'a limit of GitHub for an approval' },
    { text: 'July 15, 2026', because: 'the day on which GitHub changed its tokens' },
    { text: '| 6379, or the port', because: 'the port that servers have by default' },
    { text: 'passwords lie there | 443 |', because: 'the port of HTTPS' },
    { text: 'at 3 a.m.', because: 'a time of day' },
    { text: 'at 3 p.m.', because: 'a time of day' },
    { text: 'milliseconds since 1970', because: 'where the clock of Unix begins' },
    // Contributing, measuring, and others.
    { text: '100,000 damaged RDBs', value: proveDefaultOf('inputs') },
    { text: '100,000 writes of every type', value: proveDefaultOf('writes') },
    { text: '10,000 touched keys', value: proveDefaultOf('touched') },
    { text: '200 faults of the agent', value: proveDefaultOf('faults') },
    {
      text: 'more than 12 % of the cores',
      value: Math.round(100 * constantOf('test/bench/report.ts', 'FOREIGN_SHARE_MAX')),
    },
    { text: 'is exit status 1, a missed target', because: 'an exit status' },
    { text: '8 GB of memory', because: 'what the machines of CI have is enough; nothing is measured' },
    { text: 'about 300 lines', because: 'a guideline for people' },
    { text: '#847', because: 'a pull request of RedisShake' },
    { text: 'Its 4.x line', because: 'a version of RIOT' },
    { text: '32-bit hashes', because: 'the hash codes of Java' },
    { text: 'takes some 20 minutes', because: 'what AWS takes' },
    { text: 'some 20 US cents an hour', because: 'a price of AWS, as the page says' },
  ];
}

/** The number that a constant of the sources holds; those that are only read here need not be exported. */
export function constantOf(file: string, name: string): number {
  const declared = new RegExp(`^(?:export )?const ${name}(?:: [^=]+)? = ([^;]+);`, 'm').exec(
    readPage(file),
  )?.[1];
  const terms = (declared ?? '')
    .replaceAll(/['_\s]/g, '')
    .replaceAll('**', '^')
    .split('*');
  const value = terms.reduce((product, term) => {
    const [base = '', exponent = '1'] = term.split('^');
    return product * Number(base === '' ? Number.NaN : base) ** Number(exponent);
  }, 1);
  if (Number.isNaN(value)) throw new Error(`${file} has no number ${name} that can be read: ${declared}`);
  return value;
}

function defaultOf(input: string): number {
  return Number(readAction().inputs[input]?.default);
}

function workflowDefaultOf(input: string): number {
  const lines = readPage('.github/workflows/migrate.yml').split(`${input}: &${input}`)[1] ?? '';
  return Number(/default: (\d+)/.exec(lines)?.[1]);
}

function proveDefaultOf(option: string): number {
  const pattern = new RegExp(`${option}: \\{ type: 'string', default: '(\\d+)' \\}`);
  return Number(pattern.exec(readPage('scripts/prove.ts'))?.[1]);
}
