import type { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { toServerError } from '../redis/server-error.ts';
import { refusalError } from '../sync/refusal.ts';
import { expiryRequest, readExpiryTimes } from '../verify/expiry.ts';
import { type CommandFrame, commandAround, Request } from '../verify/request.ts';
import { type CommandBuffer, partUnder } from './command-buffer.ts';
import { copyInPieces } from './large-value.ts';
import { type Line, SELECT_REFUSED } from './line.ts';
import type { ScanMeter } from './scan-meter.ts';
import type { DropFieldTimes, ToPayload } from './source-payload.ts';

/** What a copier needs besides the line. */
export type CopierOptions = {
  readonly line: Line;
  readonly source: Access;
  readonly target: Access;
  /** What the source knows and lets us run. */
  readonly capabilities: SourceCapabilities;
  readonly toPayload: ToPayload;
  readonly dropFieldTimes: DropFieldTimes;
  /** Whether the target can hold hashes of which fields expire. */
  readonly hasHashFieldTtls: boolean;
  readonly meter: ScanMeter;
  readonly signal: AbortSignal;
  /** Called whenever something has come to an end, for better or worse. */
  readonly onProgress: () => void;
};

/** Commands that not every source has. */
export type SourceCapabilities = {
  /** PEXPIRETIME: Redis 7.0, Valkey. */
  readonly absoluteExpiry: boolean;
  readonly memoryUsage: boolean;
  /** HPEXPIRETIME: Redis 7.4, Valkey 9. */
  readonly fieldExpiry: boolean;
};

/** Makes a command of a value of the source; false: the value does not tell all, so nothing is written. */
type ToWrite = (
  value: ReplyCursor,
  key: Buffer,
  to: { writes: CommandBuffer; expireAtMs: number },
) => boolean;

/** Keys of one database that are read and written. */
export type Batch = {
  readonly db: number;
  readonly keys: readonly Buffer[];
  /** `none`: none of them expires, or an event will say so. */
  readonly expiry: 'each' | 'none';
};

/**
 * Batches under way, as many as have so many bytes together, within bounds. Three processes that wait for one another
 * on few cores get more done when each has work for longer: 32 batches of small values instead of 8 take 12 % less time.
 */
const UNDER_WAY_BYTES = 4 * 1024 * 1024;
const BATCHES_MIN = 8;
const BATCHES_MAX = 32;
/** Strings up to here are read at once, so that a batch is bounded whatever it holds. */
const SMALL_STRING_BYTES = 16 * 1024;
/** Values up to this size, as the source estimates it, are read by DUMP; larger ones in pieces. */
const WHOLE_BYTES_MAX = 512 * 1024;
/** What is read by DUMP together. */
const GROUP_BYTES_MAX = 1024 * 1024;
/** The same where the source does not tell sizes. */
const GROUP_KEYS_UNKNOWN = 16;
/** So many batches in a row that were nothing but strings, and the next is taken for one. */
const STRING_BATCHES_TRUSTED = 4;

const STRING_TYPE = 0;

const FIRST_PIECE = commandAround(['GETRANGE'], [0, SMALL_STRING_BYTES - 1]);
const USAGE = commandAround(['MEMORY', 'USAGE']);
const DUMP = commandAround(['DUMP']);
/** Refusals of a payload that other commands get around: a target that is older than the payload. */
const PAYLOAD_REFUSED = /payload|data format/i;

/**
 * Copies keys as the source has them now: strings by GETRANGE and SET, where batches have been nothing else, all others
 * by DUMP and RESTORE with a footer of our own, large ones in pieces. What the source does not have is removed.
 */
export class Copier {
  readonly #options: CopierOptions;
  /** Large values that are being written in pieces; each is settled when it is over. */
  readonly #large = new Map<string, Promise<unknown>>();
  #stringBatches = 0;
  #underWay = 0;
  #failure: { readonly error: unknown } | undefined;
  readonly #waiting: (() => void)[] = [];

  constructor(options: CopierOptions) {
    this.#options = options;
  }

  /** Whether the key may be read now: of a large one that is being written in pieces nothing else may be written. */
  isFree(db: number, key: Buffer): boolean {
    return this.#large.size === 0 || !this.#large.has(idOf(db, key));
  }

  /**
   * Begins to copy the keys, when there is room; `onDone` is called when the target has them. The keys must not be
   * changed until then.
   *
   * @throws what a batch before it failed with: source-…, target-…, source-data-unsupported
   */
  async copy(batch: Batch, onDone?: () => void): Promise<void> {
    await this.#until(() => this.#underWay < this.#mostUnderWay);
    await this.#options.line.ready(this.#options.signal);
    this.#underWay += 1;
    this.#run(batch)
      .then(onDone)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#underWay -= 1;
        this.#wake();
      });
  }

  /** Throws what a batch has failed with, if one has. */
  assertSound(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Resolves when everything is written. Throws as {@link copy}. */
  async finish(): Promise<void> {
    await this.#until(() => this.#underWay === 0);
  }

  get #mostUnderWay(): number {
    const most = UNDER_WAY_BYTES / this.#options.line.largestRecently;
    return Math.min(BATCHES_MAX, Math.max(BATCHES_MIN, most));
  }

  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      this.assertSound();
      if (condition()) return;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
    this.#options.onProgress();
  }

  async #run({ db, keys, expiry }: Batch): Promise<void> {
    const free = this.#large.size === 0 ? keys : keys.filter((key) => this.isFree(db, key));
    const isTrusted = this.#stringBatches >= STRING_BATCHES_TRUSTED;
    const rest = isTrusted ? await this.#copyStrings({ db, keys: free, expiry }) : free;
    if (rest.length > 0) await this.#copyValues({ db, keys: rest, expiry });
    if (free.length === keys.length) return;
    for (const key of keys) if (!free.includes(key)) await this.#copyLarge(db, key);
  }

  /** Returns the keys of which the beginning as a string does not tell all. */
  async #copyStrings({ db, keys, expiry }: Batch): Promise<readonly Buffer[]> {
    const rest: Buffer[] = [];
    await this.#carry({ db, keys, expiry, command: FIRST_PIECE }, (value, key, { writes, expireAtMs }) => {
      const length = value.end - value.start;
      if (value.kind !== REPLY_KIND.bulk || length === 0 || length === SMALL_STRING_BYTES) {
        rest.push(key);
        return false;
      }
      writes.set(key, partUnder(value), expireAtMs);
      return true;
    });
    if (rest.length > keys.length / 4) this.#stringBatches = 0;
    return rest;
  }

  async #copyValues({ db, keys, expiry }: Batch): Promise<void> {
    const { whole, large } = await this.#sortBySize(db, keys);
    let strings = 0;
    for (const group of whole) {
      const copied = await this.#copyPayloads({ db, keys: group, expiry });
      strings += copied.strings;
      large.push(...copied.keys);
    }
    this.#stringBatches = strings === keys.length ? this.#stringBatches + 1 : 0;
    for (const key of large) await this.#copyLarge(db, key);
  }

  /** One after the other, where it is asked for twice. */
  async #copyLarge(db: number, key: Buffer): Promise<void> {
    const id = idOf(db, key);
    for (let other = this.#large.get(id); other !== undefined; other = this.#large.get(id)) {
      await other.catch(() => {
        // Whoever began it says so.
      });
    }
    const copying = this.#copyInPieces(db, key);
    this.#large.set(id, copying);
    try {
      await copying;
    } finally {
      this.#large.delete(id);
    }
  }

  async #copyInPieces(db: number, key: Buffer): Promise<void> {
    const ending = await copyInPieces({ ...this.#options, db, key });
    if (ending === 'copied') this.#options.meter.copied(1);
    else if (ending === 'without pieces') await this.#copyWhole(db, key);
    else throw this.#toError(ending.refusal);
  }

  /** A type that cannot be written in pieces, whatever its size. */
  async #copyWhole(db: number, key: Buffer): Promise<void> {
    const refused = await this.#copyPayloads({ db, keys: [key], expiry: 'each' });
    if (refused.keys.length > 0) throw this.#toError('-ERR Bad data format');
  }

  /** Groups of keys that are read together, and keys of large values. */
  async #sortBySize(db: number, keys: readonly Buffer[]): Promise<{ whole: Buffer[][]; large: Buffer[] }> {
    const { line, capabilities } = this.#options;
    if (!capabilities.memoryUsage) return { whole: groupsOf(keys, GROUP_KEYS_UNKNOWN), large: [] };
    const whole: Buffer[][] = [];
    const large: Buffer[] = [];
    const request = new Request();
    for (const key of keys) request.add(USAGE, key);
    await line.carry(db, request, (replies) => {
      let bytes = Number.POSITIVE_INFINITY;
      for (const key of keys) {
        replies.next();
        // What is gone, or of a module that does not tell, is looked at with the others.
        const size = replies.kind === REPLY_KIND.integer ? replies.integer() : 0;
        if (size > WHOLE_BYTES_MAX) {
          large.push(key);
          continue;
        }
        bytes += size;
        if (bytes > GROUP_BYTES_MAX) {
          whole.push([]);
          bytes = size;
        }
        whole.at(-1)?.push(key);
      }
    });
    return { whole, large };
  }

  /** Reads keys by DUMP and restores them; returns those of which the target did not take the payload. */
  async #copyPayloads(batch: Batch): Promise<{ keys: readonly Buffer[]; strings: number }> {
    const { source, toPayload } = this.#options;
    let strings = 0;
    const keys = await this.#carry({ ...batch, command: DUMP }, (value, key, { writes, expireAtMs }) => {
      if (value.kind !== REPLY_KIND.bulk) {
        throw toServerError(source, 'reading keys', new Error(value.text()));
      }
      if (value.bytes[value.start] === STRING_TYPE) strings += 1;
      const payload = value.isNull ? undefined : toPayload({ db: batch.db, key }, partUnder(value));
      if (payload === undefined) writes.remove(key);
      else writes.restore(key, payload, expireAtMs);
      return true;
    });
    return { keys, strings };
  }

  /** Reads a value of each key and writes what is made of it; returns the keys of which the payload was refused. */
  async #carry(
    { db, keys, expiry, command }: Batch & { readonly command: CommandFrame },
    toWrite: ToWrite,
  ): Promise<readonly Buffer[]> {
    const { line, capabilities, meter } = this.#options;
    const hasTimes = expiry === 'each';
    const request = hasTimes ? expiryRequest(keys, capabilities) : new Request();
    for (const key of keys) request.add(command, key);
    const written: Buffer[] = [];
    const refusals = await line.carry(db, request, (replies, writes) => {
      const times = hasTimes
        ? readExpiryTimes(replies, keys.length, { ...capabilities, paddedExpiry: false })
        : undefined;
      for (const [index, key] of keys.entries()) {
        replies.next();
        if (toWrite(replies, key, { writes, expireAtMs: times?.atMs[index] ?? -1 })) written.push(key);
      }
      meter.copied(written.length, replies.at);
    });
    if (refusals.size === 0) return [];
    return Array.from(refusals, ([index, text]) => {
      const key = written[index];
      if (key === undefined || !PAYLOAD_REFUSED.test(text)) throw this.#toError(text, index);
      return key;
    });
  }

  #toError(text: string, index = 0): MigrationError {
    const command = index === SELECT_REFUSED ? 'SELECT' : 'a key';
    return refusalError(this.#options.target, { command, text, isApplied: false });
  }
}

function idOf(db: number, key: Buffer): string {
  return `${db} ${key.toString('latin1')}`;
}

function groupsOf(keys: readonly Buffer[], size: number): Buffer[][] {
  const groups: Buffer[][] = [];
  for (let from = 0; from < keys.length; from += size) groups.push(keys.slice(from, from + size));
  return groups;
}
