import type { RawConnection } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { isVersionAtLeast, type ServerInfo } from '../redis/server-info.ts';
import type { EventStream } from './event-stream.ts';

/**
 * Finds what no event tells of: FLUSHALL, FLUSHDB and SWAPDB, before Redis 6.2 MOVE as well, by the counts of commands
 * where the source shows them, and by a database that has lost more keys than there were events; and changes of
 * functions.
 */
export class UnannouncedChanges {
  readonly #connection: RawConnection;
  readonly #events: Pick<EventStream, 'mark' | 'count'>;
  readonly #untold: RegExp;
  #last: Look | undefined;

  constructor({ connection, events, source }: Watched) {
    this.#connection = connection;
    this.#events = events;
    const isMoveUntold = source?.kind === 'redis' && !isVersionAtLeast(source.version, 6, 2);
    this.#untold = isMoveUntold ? UNTOLD_WITH_MOVE : UNTOLD;
  }

  /**
   * Says in a few words what has happened since the last look; undefined when nothing has, or at the first look.
   *
   * @throws the codes of {@link RawConnection.send} and {@link EventStream.mark}
   */
  async look(): Promise<string | undefined> {
    const eventsBefore = this.#events.count;
    const [stats, keyspace] = await this.#connection.send([
      ['INFO', 'commandstats'],
      ['INFO', 'keyspace'],
    ]);
    // The events of what the reply already counts may still be on their way.
    await this.#events.mark();
    const last = this.#last;
    const look: Look = {
      calls: readCalls(stats, this.#untold),
      keys: readKeys(keyspace),
      eventsBefore,
      eventsAfter: this.#events.count,
    };
    this.#last = look;
    return last === undefined ? undefined : compare(last, look);
  }
}

/** Where changes are looked for. */
export type Watched = {
  readonly connection: RawConnection;
  readonly events: Pick<EventStream, 'mark' | 'count'>;
  /** Undefined where the source does not say what it is. */
  readonly source: Pick<ServerInfo, 'kind' | 'version'> | undefined;
};

type Look = {
  /** How often each command that is not told was called; empty where the source does not say. */
  readonly calls: ReadonlyMap<string, number>;
  readonly keys: ReadonlyMap<string, number>;
  /** How many events had come at the latest when the source answered, and at the earliest. */
  readonly eventsBefore: number;
  readonly eventsAfter: number;
};

/** Commands that change the data without an event; those of functions change no key. */
const UNTOLD = /^cmdstat_(flushall|flushdb|swapdb|function\|(?:load|delete|flush|restore)):calls=(\d+)/gim;

const UNTOLD_WITH_MOVE = new RegExp(UNTOLD.source.replace('flushall', 'move|flushall'), UNTOLD.flags);

function readCalls(reply: Reply | undefined, untold: RegExp): ReadonlyMap<string, number> {
  const text = Buffer.isBuffer(reply) ? reply.toString('latin1') : '';
  return new Map(Array.from(text.matchAll(untold), ([, name = '', calls]) => [name, Number(calls)]));
}

function readKeys(reply: Reply | undefined): ReadonlyMap<string, number> {
  const text = Buffer.isBuffer(reply) ? reply.toString('latin1') : '';
  return new Map(
    Array.from(text.matchAll(/^db(\d+):keys=(\d+)/gm), ([, db = '', keys]) => [db, Number(keys)]),
  );
}

function compare(last: Look, now: Look): string | undefined {
  for (const name of new Set([...last.calls.keys(), ...now.calls.keys()])) {
    // Fewer: the counts were reset, and what they would have shown is not known.
    if ((last.calls.get(name) ?? 0) !== (now.calls.get(name) ?? 0)) {
      return `${name.toUpperCase().replace('|', ' ')} was run at the source`;
    }
  }
  // At least those that came between the two answers.
  const events = now.eventsAfter - last.eventsBefore;
  for (const [db, before] of last.keys) {
    if (before - (now.keys.get(db) ?? 0) > events) return `database ${db} lost keys without an event`;
  }
  return undefined;
}
