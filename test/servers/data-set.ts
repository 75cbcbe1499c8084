import type { Redis } from 'ioredis';
import { type DataSetCommand, makeEntry } from './data-set-entries.ts';

/** What to load. */
export type DataSetOptions = {
  /** How many keys over all databases, at least 1. */
  readonly keys: number;
  /** The same seed gives the same keys, values and TTLs. */
  readonly seed: number;
  /** Where the keys go, about 80 % to the first; 0, 1 and 5 unless told. */
  readonly databases?: readonly number[];
  /** Gives some hash fields a TTL of their own; the server must know HPEXPIRE (Redis 7.4, Valkey 9). */
  readonly hashFieldTtls?: boolean;
};

/** What was loaded. */
export type DataSetCounts = {
  readonly keys: number;
  readonly keysWithTtl: number;
  /** Keys by the answer of TYPE; every type is there from some hundred keys on. */
  readonly keysByType: Readonly<Record<string, number>>;
  readonly keysByDatabase: Readonly<Record<number, number>>;
  /** Hash fields with a TTL of their own. */
  readonly fieldsWithTtl: number;
  /** Function libraries: 1, or 0 where the server knows no FUNCTION. */
  readonly functionLibraries: number;
};

const OTHER_DATABASE_SHARE = 0.2;
/** What one pipeline holds at most, give or take one key; one is on its way while the next is made. */
const PIPELINE_COMMANDS = 2_000;
const PIPELINE_BYTES = 4 * 1024 * 1024;

/**
 * Loads a mixed data set of all types and encodings into an empty server that `client` reaches;
 * `client` itself stays as it is. Throws on the first command the server refuses.
 */
export async function loadDataSet(client: Redis, options: DataSetOptions): Promise<DataSetCounts> {
  const features = await readFeatures(client);
  if (options.hashFieldTtls === true && !features.hashFieldTtls) {
    throw new Error(
      'This server knows no TTL of hash fields (HPEXPIRE): load the data set without hashFieldTtls.',
    );
  }
  const counts = emptyCounts(features.functions ? 1 : 0);
  if (features.functions) await client.call('FUNCTION', 'LOAD', 'REPLACE', FUNCTION_LIBRARY);
  const random = makeRandom(options.seed);
  const databases = options.databases ?? [0, 1, 5];
  for (const [database, indexes] of spreadKeys(options.keys, databases)) {
    const connection = client.duplicate({ db: database });
    try {
      await loadDatabase({ connection, database, indexes, random, counts, ...options });
    } finally {
      connection.disconnect();
    }
  }
  return counts;
}

type MutableCounts = { -readonly [Name in keyof DataSetCounts]: DataSetCounts[Name] } & {
  keysByType: Record<string, number>;
  keysByDatabase: Record<number, number>;
};

type DatabaseLoad = {
  connection: Redis;
  database: number;
  indexes: readonly number[];
  random: () => number;
  counts: MutableCounts;
  hashFieldTtls?: boolean;
};

async function loadDatabase(load: DatabaseLoad): Promise<void> {
  const { connection, counts } = load;
  let batch: DataSetCommand[] = [];
  let bytes = 0;
  // One pipeline is on its way while the next is made.
  let inFlight: Promise<void> = Promise.resolve();
  for (const index of load.indexes) {
    const entry = makeEntry(index, { random: load.random, hashFieldTtls: load.hashFieldTtls ?? false });
    batch.push(...entry.commands);
    bytes += entry.bytes;
    counts.keys += 1;
    counts.keysWithTtl += entry.hasTtl ? 1 : 0;
    counts.fieldsWithTtl += entry.fieldsWithTtl;
    counts.keysByType[entry.type] = (counts.keysByType[entry.type] ?? 0) + 1;
    counts.keysByDatabase[load.database] = (counts.keysByDatabase[load.database] ?? 0) + 1;
    if (batch.length >= PIPELINE_COMMANDS || bytes >= PIPELINE_BYTES) {
      await inFlight;
      inFlight = send(connection, batch);
      batch = [];
      bytes = 0;
    }
  }
  await inFlight;
  await send(connection, batch);
}

async function send(connection: Redis, commands: readonly DataSetCommand[]): Promise<void> {
  const pipeline = connection.pipeline();
  for (const [name, ...args] of commands) pipeline.call(name, ...args);
  const replies = await pipeline.exec();
  for (const [position, [error]] of (replies ?? []).entries()) {
    if (error === null) continue;
    const [name, key] = commands[position] ?? [];
    throw new Error(`Loading the data set: ${name} ${JSON.stringify(String(key))} failed: ${error.message}`);
  }
}

/** The first database gets the most keys; the others share the rest. */
function spreadKeys(keys: number, databases: readonly number[]): Map<number, number[]> {
  const [first = 0, ...others] = databases;
  const spread = new Map<number, number[]>(databases.map((database) => [database, []]));
  const step = Math.round(1 / OTHER_DATABASE_SHARE);
  for (let index = 0; index < keys; index++) {
    const turn = index % step === step - 1 ? Math.floor(index / step) : undefined;
    const database = turn === undefined ? first : (others[turn % others.length] ?? first);
    spread.get(database)?.push(index);
  }
  return spread;
}

async function readFeatures(client: Redis): Promise<{ functions: boolean; hashFieldTtls: boolean }> {
  const answer: unknown = await client.call('COMMAND', 'INFO', 'function', 'hpexpire');
  const [functions, hashFieldTtls] = Array.isArray(answer) ? answer : [];
  return { functions: Array.isArray(functions), hashFieldTtls: Array.isArray(hashFieldTtls) };
}

function emptyCounts(functionLibraries: number): MutableCounts {
  return { keys: 0, keysWithTtl: 0, keysByType: {}, keysByDatabase: {}, fieldsWithTtl: 0, functionLibraries };
}

const FUNCTION_LIBRARY = `#!lua name=dataset
redis.register_function('dataset_echo', function(keys, args) return args[1] end)
redis.register_function{function_name='dataset_read', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}
`;

/** A small generator of numbers in [0, 1) that repeats from its seed (mulberry32). */
export function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
