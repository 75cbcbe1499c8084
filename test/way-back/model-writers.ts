import type { Redis } from 'ioredis';
import { systemClock } from '../../src/core/clock.ts';
import { makeRandom, type Random } from '../random.ts';
import type { RunningServer } from '../servers/start.ts';

/** A value as it must be, in a form that can be compared; undefined: there is no such key. */
export type Held =
  | { readonly type: string; readonly value: readonly string[]; readonly expireAtMs: number }
  | undefined;

/** Clients that write values of every type and remember what was acknowledged. */
export type ModelWriters = {
  /** How many writes were acknowledged so far. */
  count(): number;
  /** Resolves when a write of each was refused by a fence, with the texts; rejects when one was refused otherwise. */
  readonly refused: Promise<readonly string[]>;
  /** Every key that was ever written, and what it must hold. */
  expected(): ReadonlyMap<string, Held>;
};

const WRITERS = 4;
const KEYS_PER_WRITER = 4_000;
const BATCH = 25;
/** Between two batches of one: together some 5,000 writes a second at most. */
const PAUSE_MS = 20;
const NEVER = -1;
const HOUR_MS = 3_600_000;

/** Starts them; each has keys of its own, so that the order of its writes is the order at the server. */
export function startModelWriters(server: RunningServer, seed: number): ModelWriters {
  const writers = Array.from({ length: WRITERS }, (_, index) => new Writer(index, makeRandom(seed + index)));
  const refused = Promise.all(writers.map((writer) => writer.run(server.client())));
  // Looked at in the end; a failure before that is not unhandled.
  refused.catch(() => {});
  return {
    count: () => writers.reduce((sum, writer) => sum + writer.acknowledged, 0),
    refused,
    expected: () =>
      new Map(writers.flatMap((writer) => [...writer.model].map(([name, key]) => [name, held(key)]))),
  };
}

/** Reads what the server holds of the names, as {@link Held}. */
export async function readHeld(client: Redis, names: readonly string[]): Promise<Map<string, Held>> {
  const found = new Map<string, Held>();
  for (let from = 0; from < names.length; from += 1000) {
    const page = names.slice(from, from + 1000);
    const types = await replies(
      client,
      page.map((name) => ['TYPE', name]),
    );
    const reads = page.map((name, at) => readCommand(name, String(types[at])));
    const values = await replies(client, reads);
    const times = await replies(
      client,
      page.map((name) => ['PEXPIRETIME', name]),
    );
    page.forEach((name, at) => {
      const type = String(types[at]);
      const expireAtMs = Number(times[at]);
      found.set(name, type === 'none' ? undefined : { type, value: shown(type, values[at]), expireAtMs });
    });
  }
  return found;
}

type Key =
  | { type: 'string'; value: string; expireAtMs: number }
  | { type: 'hash' | 'zset'; value: Map<string, string>; expireAtMs: number }
  | { type: 'set'; value: Set<string>; expireAtMs: number }
  | { type: 'list' | 'stream'; value: string[]; expireAtMs: number };

type Write = { readonly command: readonly string[]; readonly apply: () => void };

class Writer {
  acknowledged = 0;
  readonly model = new Map<string, Key | undefined>();
  readonly #index: number;
  readonly #random: Random;
  #number = 0;

  constructor(index: number, random: Random) {
    this.#index = index;
    this.#random = random;
  }

  /** Writes until a write is refused; returns the refusal. */
  async run(client: Redis): Promise<string> {
    for (;;) {
      // A key comes once in a batch: what is done to it is known before it is done again.
      const names = new Set(Array.from({ length: BATCH }, () => this.#name()));
      const writes = [...names].flatMap((name) => this.#write(name));
      const pipeline = client.pipeline();
      for (const {
        command: [name = '', ...args],
      } of writes)
        pipeline.call(name, ...args);
      const answers = (await pipeline.exec()) ?? [];
      let refusal: string | undefined;
      writes.forEach(({ apply }, at) => {
        const error = answers[at]?.[0];
        if (error) {
          refusal ??= String(error);
          return;
        }
        apply();
        this.acknowledged += 1;
      });
      if (refusal !== undefined) {
        if (!/NOREPLICAS|NOPERM/.test(refusal)) throw new Error(refusal);
        return refusal;
      }
      await systemClock.sleep(PAUSE_MS, new AbortController().signal);
    }
  }

  #name(): string {
    return `late:${this.#index}:${this.#random.below(KEYS_PER_WRITER)}`;
  }

  #write(name: string): Write[] {
    const key = this.model.get(name);
    const kind = this.#random.below(20);
    if (key !== undefined && kind < 2) return [this.#remove(name)];
    if (key !== undefined && kind < 4) return [this.#rename(name, key)];
    if (key !== undefined && kind < 6) return [this.#expire(name, key)];
    if (kind === 6) return [this.#fleeting(name)];
    return [this.#change(name, key)];
  }

  #remove(name: string): Write {
    return { command: ['DEL', name], apply: () => this.model.set(name, undefined) };
  }

  /** To a name that nothing else is done to. */
  #rename(name: string, key: Key): Write {
    const to = `${name}:renamed`;
    return {
      command: ['RENAME', name, to],
      apply: () => {
        this.model.set(to, key);
        this.model.set(name, undefined);
      },
    };
  }

  #expire(name: string, key: Key): Write {
    const atMs = this.#random.below(3) === 0 ? NEVER : Date.now() + HOUR_MS + this.#random.below(HOUR_MS);
    const command = atMs === NEVER ? ['PERSIST', name] : ['PEXPIREAT', name, String(atMs)];
    const apply = () => {
      key.expireAtMs = atMs;
    };
    return { command, apply };
  }

  /** Gone by itself, long before anybody looks; nothing else is done to its name, which may still be there then. */
  #fleeting(name: string): Write {
    const gone = `${name}:fleeting`;
    return {
      command: ['SET', gone, 'fleeting', 'PX', '3'],
      apply: () => this.model.set(gone, undefined),
    };
  }

  #change(name: string, key: Key | undefined): Write {
    const number = String(++this.#number);
    const field = String(this.#random.below(30));
    switch (key?.type ?? TYPES[this.#random.below(TYPES.length)]) {
      case 'hash':
        return this.#into(name, key, 'hash', ['HSET', name, field, number], ({ value }) =>
          value.set(field, number),
        );
      case 'zset':
        return this.#into(name, key, 'zset', ['ZADD', name, number, field], ({ value }) =>
          value.set(field, number),
        );
      case 'set': {
        const member = this.#random.below(2) === 0 ? field : `word ${field}`;
        const apply = () => {
          const found =
            key?.type === 'set' ? key : this.#put(name, { type: 'set', value: new Set(), expireAtMs: NEVER });
          found.value.add(member);
        };
        return { command: ['SADD', name, member], apply };
      }
      case 'list':
        return this.#onto(name, key, 'list', ['RPUSH', name, number], number);
      case 'stream':
        return this.#onto(
          name,
          key,
          'stream',
          ['XADD', name, `${number}-1`, 'f', number],
          `${number}-1 f ${number}`,
        );
      default: {
        const value = number.repeat(1 + this.#random.below(20));
        const apply = () => this.#put(name, { type: 'string', value, expireAtMs: NEVER });
        return { command: ['SET', name, value], apply };
      }
    }
  }

  #into(
    name: string,
    key: Key | undefined,
    type: 'hash' | 'zset',
    command: readonly string[],
    change: (key: { value: Map<string, string> }) => void,
  ): Write {
    return {
      command,
      apply: () =>
        change(key?.type === type ? key : this.#put(name, { type, value: new Map(), expireAtMs: NEVER })),
    };
  }

  #onto(
    name: string,
    key: Key | undefined,
    type: 'list' | 'stream',
    command: readonly string[],
    element: string,
  ): Write {
    const apply = () => {
      const found = key?.type === type ? key : this.#put(name, { type, value: [], expireAtMs: NEVER });
      found.value.push(element);
    };
    return { command, apply };
  }

  #put<Made extends Key>(name: string, key: Made): Made {
    this.model.set(name, key);
    return key;
  }
}

const TYPES = ['string', 'hash', 'zset', 'set', 'list', 'stream'] as const;

function held(key: Key | undefined): Held {
  if (key === undefined) return undefined;
  const { type, expireAtMs } = key;
  switch (key.type) {
    case 'string':
      return { type, value: [key.value], expireAtMs };
    case 'hash':
    case 'zset':
      return { type, value: Array.from(key.value, ([name, value]) => `${name} ${value}`).sort(), expireAtMs };
    case 'set':
      return { type, value: [...key.value].sort(), expireAtMs };
    default:
      return { type, value: key.value, expireAtMs };
  }
}

function readCommand(name: string, type: string): readonly string[] {
  switch (type) {
    case 'hash':
      return ['HGETALL', name];
    case 'zset':
      return ['ZRANGE', name, '0', '-1', 'WITHSCORES'];
    case 'set':
      return ['SMEMBERS', name];
    case 'list':
      return ['LRANGE', name, '0', '-1'];
    case 'stream':
      return ['XRANGE', name, '-', '+'];
    default:
      return ['GET', name];
  }
}

function shown(type: string, reply: unknown): readonly string[] {
  // The pairs of a newer protocol are flat in the older one.
  const items: unknown[] = Array.isArray(reply) ? (type === 'stream' ? reply : reply.flat()) : [reply];
  switch (type) {
    case 'hash':
    case 'zset':
      return items
        .flatMap((item, at) => (at % 2 === 0 ? [`${String(item)} ${String(items[at + 1])}`] : []))
        .sort();
    case 'set':
      return items.map(String).sort();
    case 'stream':
      return items.map((entry) => (Array.isArray(entry) ? entry.flat().join(' ') : String(entry)));
    default:
      return items.map(String);
  }
}

async function replies(client: Redis, commands: readonly (readonly string[])[]): Promise<unknown[]> {
  const pipeline = client.pipeline();
  for (const [name = '', ...args] of commands) pipeline.call(name, ...args);
  return ((await pipeline.exec()) ?? []).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}
