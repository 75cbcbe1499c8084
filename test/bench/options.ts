import { parseArgs } from 'node:util';
import { z } from 'zod';

const SET_IDS = ['A', 'B', 'C', 'D', 'E', 'F', 'G'] as const;
const CONTESTANT_NAMES = [
  'native',
  'native-on-empty-db',
  'ours',
  'ours-untuned',
  'scan',
  'raw',
  'redis-shake',
  'redis-shake-scan',
  'redis-full-check',
  'none',
] as const;
const LIVE_COMMANDS = ['set', 'incr', 'lpush'] as const;

/** The name of a data set. */
export const dataSetIdSchema = z.enum(SET_IDS);
/** See {@link dataSetIdSchema}. */
export type DataSetId = z.infer<typeof dataSetIdSchema>;

/**
 * Who carries the data: REPLICAOF on the target as its defaults are, or without the detour over its disk; the built
 * agent with `tune-source`, or without, or on the route `scan`; a forwarder of the bare stream without transactions and checkpoints; RedisShake, by PSYNC or by scanning; or nobody. redis-full-check
 * carries nothing: it compares.
 */
export const contestantNameSchema = z.enum(CONTESTANT_NAMES);
/** See {@link contestantNameSchema}. */
export type ContestantName = z.infer<typeof contestantNameSchema>;

const optionsSchema = z.object({
  sets: z.array(dataSetIdSchema).min(1),
  rounds: z.coerce.number().int().min(1).max(25),
  scale: z.coerce.number().gt(0).max(10),
  only: z.enum(['copy', 'live', 'verify']).optional(),
  contestants: z.array(contestantNameSchema).min(1).optional(),
  liveCommands: z.array(z.enum(LIVE_COMMANDS)).min(1),
  liveKeys: z.coerce.number().int().min(1).max(100_000_000),
  source: z.string().optional(),
  target: z.string().optional(),
  noiseRepeats: z.coerce.number().int().min(0).max(10),
  strict: z.boolean(),
  json: z.string().min(1).optional(),
});

/** What to measure. */
export type BenchOptions = z.infer<typeof optionsSchema> & {
  /** The program of RedisShake; without one it is left out. */
  readonly redisShake: string | undefined;
  /** The program of redis-full-check; without one it is left out. */
  readonly fullCheck: string | undefined;
};

/** What `--help` prints. */
export const USAGE = `npm run bench -- [options]

Measures a full copy and the live stream against native replication, and a full comparison against redis-full-check,
interleaved, on servers of this machine.

  --sets A,B,C,D,E      A 2 M strings of 100 B   B 200 k hashes of 10 fields   C 500 k keys of all types
                        D 2 k strings of 1 MB    E 5 hashes of 1 M fields
                        F one string of 512 MB   G one hash of 5 M fields      (default: A,B,C,D,E)
  --rounds N            every contestant runs once in each (default: 3)
  --scale X             the share of keys, fields and commands (default: 1)
  --only copy|live|verify   one part
  --contestants A,B     of native, native-on-empty-db, ours, ours-untuned, scan, raw, redis-shake,
                        redis-shake-scan, redis-full-check, none (default: all but native-on-empty-db and those
                        that scan; RedisShake when REDIS_SHAKE names its program,
                        redis-full-check when FULL_CHECK does)
  --live-commands A,B   of set, incr, lpush (default: set)
  --live-keys N         how many keys they are about, at random (default: 1000000; redis-benchmark by itself: 1)
  --source redis-7.0    --target valkey-8
  --noise-repeats N     how often a run is repeated that others disturbed (default: 1)
  --json FILE           the figures for programs
  --strict              a target that is missed is a failure
`;

/** Reads the arguments and the environment. Throws an Error that names the option. */
export function parseOptions(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      sets: { type: 'string', default: 'A,B,C,D,E' },
      rounds: { type: 'string', default: '3' },
      scale: { type: 'string', default: '1' },
      only: { type: 'string' },
      contestants: { type: 'string' },
      'live-commands': { type: 'string', default: 'set' },
      'live-keys': { type: 'string', default: '1000000' },
      source: { type: 'string' },
      target: { type: 'string' },
      'noise-repeats': { type: 'string', default: '1' },
      json: { type: 'string' },
      strict: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const parsed = optionsSchema.safeParse({
    ...values,
    sets: values.sets.split(','),
    contestants: values.contestants?.split(','),
    liveCommands: values['live-commands'].split(','),
    liveKeys: values['live-keys'],
    noiseRepeats: values['noise-repeats'],
  });
  if (!parsed.success) throw new Error(`${z.prettifyError(parsed.error)}\n\n${USAGE}`);
  const program = (value: string | undefined) => (value === '' ? undefined : value);
  return { ...parsed.data, redisShake: program(env.REDIS_SHAKE), fullCheck: program(env.FULL_CHECK) };
}
