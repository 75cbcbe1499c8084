import path from 'node:path';
import type { Access } from '../redis/access.ts';
import { keySlot } from '../redis/cluster/slots.ts';
import { PartitionFile } from '../redis/partition-file.ts';
import { encodeCommands, openRawConnection, type RawConnection } from '../redis/raw-connection.ts';
import { Crc64 } from '../redis/rdb/crc64.ts';
import type { RdbReader } from '../redis/rdb/reader.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';
import { isReserved } from './copy-encoder.ts';
import { HashSet } from './hash-set.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter } from './target-writer.ts';

/** A partition of a hundred million keys takes some 16 MB while it is compared. */
const PARTITIONS = 256;
const SUM_BYTES = 8;
/** What stands before a key: 1, the database and the length of the key, so that no two keys have the same bytes. */
const HEAD_BYTES = 9;
/** Sum, database and length, before the bytes of a key of the target. */
const RECORD_HEAD_BYTES = SUM_BYTES + 8;
const SCAN_COUNT = 1_000;
const REMOVED_AT_ONCE = 256;
const REMOVED_BYTES_AT_ONCE = SLOT_COMMAND_BYTES_MAX / 2;

type Key = RdbReader['key'];

/** Where the keys are removed. */
export type Removal = {
  readonly access: Access;
  readonly writer: TargetWriter;
  /** Whether no command may name keys of several slots. */
  readonly isCluster?: boolean;
  /** Says of keys that are none of the copy's business that they stay. */
  readonly isOurs?: ((db: number, slot: number) => boolean) | undefined;
  readonly signal: AbortSignal;
};

/**
 * Finds the keys of a target that a copy did not bring, however many they are, by comparing on disk: of each key that
 * the copy brought a sum of 64 bits, of each key of the target its name as well, both spread over partitions by the
 * sum, and then one partition after the other in memory.
 *
 * A key that was brought is never removed. One that was not stays in the rare case that its sum is that of another.
 */
export class ExtraKeys implements Disposable {
  readonly #brought: PartitionFile;
  readonly #found: PartitionFile;
  readonly #sum = new Crc64();
  readonly #head = Buffer.alloc(HEAD_BYTES, 1);
  readonly #record = Buffer.alloc(RECORD_HEAD_BYTES);

  /** Keeps its files in the directory; nothing of them is left. @throws spool-full, spool-failed */
  constructor(directory: string) {
    this.#brought = new PartitionFile(path.join(directory, 'keys-brought'), PARTITIONS);
    this.#found = new PartitionFile(path.join(directory, 'keys-found'), PARTITIONS);
  }

  /** Takes note that the copy brings a key. @throws spool-full, spool-failed */
  keep(db: number, key: Key): void {
    const partition = this.#sumUp(db, key);
    this.#brought.push(partition, this.#record.subarray(0, SUM_BYTES));
  }

  /**
   * Removes all other keys from the target, except the claim, and returns how many there were. Nobody else may write
   * to the target meanwhile.
   *
   * @throws spool-full, spool-failed, target-unreachable, what the writer failed with, or the signal's reason
   */
  async remove(removal: Removal): Promise<number> {
    const { access, signal, isOurs } = removal;
    for (const db of await listDatabases(access, signal)) {
      await using connection = await openRawConnection(access, { db, signal });
      await this.#scan(connection, { db, isOurs });
    }
    const remover = new Remover(removal.writer, removal.isCluster ? 1 : REMOVED_AT_ONCE);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      signal.throwIfAborted();
      const known = new HashSet(this.#brought.count(partition) + this.#found.count(partition));
      for (const sum of records(this.#brought.pieces(partition), () => SUM_BYTES)) known.add(sum, 0);
      for (const record of records(this.#found.pieces(partition), recordBytes)) {
        if (known.add(record, 0)) {
          await remover.remove(
            record.readUInt32LE(SUM_BYTES),
            Buffer.from(record.subarray(RECORD_HEAD_BYTES)),
          );
        }
      }
    }
    await remover.finish();
    return remover.removed;
  }

  [Symbol.dispose](): void {
    this.#brought[Symbol.dispose]();
    this.#found[Symbol.dispose]();
  }

  async #scan(
    connection: RawConnection,
    { db, isOurs }: { db: number } & Pick<Removal, 'isOurs'>,
  ): Promise<void> {
    for await (const keys of scanKeys(connection)) {
      for (const bytes of keys) {
        const key = { bytes, start: 0, end: bytes.length };
        if (db === 0 && isReserved(key)) continue;
        if (isOurs !== undefined && !isOurs(db, keySlot(bytes, 0, bytes.length))) continue;
        const partition = this.#sumUp(db, key);
        this.#found.push(partition, Buffer.concat([this.#record, bytes]));
      }
    }
  }

  /** Fills the head of the key's record and returns its partition. */
  #sumUp(db: number, { bytes, start, end }: Key): number {
    this.#head.writeUInt32LE(db, 1);
    this.#head.writeUInt32LE(end - start, 5);
    this.#sum.reset();
    this.#sum.update(this.#head, 0, HEAD_BYTES);
    this.#sum.update(bytes, start, end);
    this.#sum.writeTo(this.#record, 0);
    this.#record.writeUInt32LE(db, SUM_BYTES);
    this.#record.writeUInt32LE(end - start, SUM_BYTES + 4);
    return this.#record.readUInt8(0);
  }
}

/** Removes keys in commands of bounded size. */
class Remover {
  removed = 0;
  readonly #writer: TargetWriter;
  readonly #keysAtOnceMax: number;
  readonly #unlink: number;
  #keys: Buffer[] = [];
  #bytes = 0;
  #db = -1;

  constructor(writer: TargetWriter, keysAtOnceMax: number) {
    this.#writer = writer;
    this.#keysAtOnceMax = keysAtOnceMax;
    this.#unlink = writer.names.id('UNLINK');
  }

  async remove(db: number, key: Buffer): Promise<void> {
    if (db !== this.#db) {
      await this.finish();
      this.#writer.write(['SELECT', db]);
      this.#db = db;
    }
    this.#keys.push(key);
    this.#bytes += key.length;
    this.removed += 1;
    if (this.#keys.length >= this.#keysAtOnceMax || this.#bytes >= REMOVED_BYTES_AT_ONCE) await this.finish();
  }

  async finish(): Promise<void> {
    if (this.#keys.length === 0) return;
    const large = this.#writer.writeParts(this.#unlink, [encodeCommands([['UNLINK', ...this.#keys]])]);
    this.#keys = [];
    this.#bytes = 0;
    if (large !== undefined) await large;
    if (!this.#writer.hasRoom) await this.#writer.room();
  }
}

/** All keys of the connection's database, as SCAN gives them. Throws what the server refuses, or is lost with. */
export async function* scanKeys(connection: RawConnection): AsyncGenerator<readonly Buffer[]> {
  let cursor = '0';
  do {
    const [reply]: readonly (Reply | undefined)[] = await connection.send([
      ['SCAN', cursor, 'COUNT', SCAN_COUNT],
    ]);
    const [next, keys] = Array.isArray(reply) ? reply : [];
    if (!Buffer.isBuffer(next) || !Array.isArray(keys)) {
      throw toServerError(connection.access, 'scanning keys', reply ?? new Error('no reply'));
    }
    yield keys.map((name) => (Buffer.isBuffer(name) ? name : Buffer.from(String(name))));
    cursor = next.toString('latin1');
  } while (cursor !== '0');
}

async function listDatabases(access: Access, signal: AbortSignal): Promise<number[]> {
  await using connection = await openRawConnection(access, { signal });
  const [info] = await connection.send([['INFO', 'keyspace']]);
  return Array.from(String(info).matchAll(/^db(\d+):/gm), ([, db]) => Number(db));
}

/** Cuts pieces into records, of which `sizeOf` says how long the one at the beginning is; undefined: more is needed. */
function* records(
  pieces: Iterable<Buffer>,
  sizeOf: (bytes: Buffer) => number | undefined,
): Generator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let at = 0;
    for (;;) {
      const size = sizeOf(rest.subarray(at));
      if (size === undefined || at + size > rest.length) break;
      yield rest.subarray(at, at + size);
      at += size;
    }
    rest = rest.subarray(at);
  }
}

function recordBytes(bytes: Buffer): number | undefined {
  return bytes.length < RECORD_HEAD_BYTES ? undefined : RECORD_HEAD_BYTES + bytes.readUInt32LE(SUM_BYTES + 4);
}
