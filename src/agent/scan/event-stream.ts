import { errorText, MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { isReservedKey } from '../redis/reserved-key.ts';
import { toServerError } from '../redis/server-error.ts';
import { connectSocket } from '../redis/socket.ts';
import { type Message, MessageParser } from './message-parser.ts';

/*
 * keyevent = "__keyevent@" db "__:" event     payload: the key
 * keyspace = "__keyspace@" db "__:" key       payload: the event
 *
 * Source: the documentation of Redis on keyspace notifications; the same in Valkey.
 */

/** Which of the two forms of a notification is subscribed to. */
export type EventForm = 'keyevent' | 'keyspace';

/** Is told of every key that an event names: the bytes hold until it returns. */
export type KeyListener = (db: number, bytes: Buffer, start: number, end: number) => void;

/** What a source publishes on channels, as it comes. */
export type EventStream = AsyncDisposable & {
  /**
   * Resolves when everything that the source had told before it saw this mark has been passed on: a PING, whose reply
   * stands behind all events of the commands before it.
   *
   * @throws source-unreachable when the subscription is lost
   */
  mark(): Promise<void>;
  /** Aborted when the subscription is lost, with the reason: what happened since is not known. */
  readonly lost: AbortSignal;
  /** How many messages came. */
  readonly count: number;
};

/** How to open an {@link EventStream}. */
export type EventStreamOptions = {
  /** Patterns of channels. */
  readonly patterns: readonly string[];
  /** Gets what came on one of them: pattern, channel and payload, which hold until it returns. */
  readonly onMessage: (message: Message) => void;
  readonly signal: AbortSignal;
};

/**
 * Subscribes; returns when the source has confirmed that.
 *
 * What comes is passed on at once and never held back, since a subscriber that does not read is disconnected.
 *
 * @throws source-unreachable, source-auth-failed, source-permission-denied, source-tls-failed
 */
export async function openEventStream(access: Access, options: EventStreamOptions): Promise<EventStream> {
  const { patterns, onMessage, signal } = options;
  const lost = new AbortController();
  const waiting: { resolve(): void; reject(reason: unknown): void }[] = [];
  let receive: ((piece: Buffer) => void) | undefined;
  const socket = await connectSocket(access, signal, { onRead: (piece) => receive?.(piece) });
  let messages = 0;
  const fail = (error: unknown) => {
    if (lost.signal.aborted) return;
    lost.abort(error);
    signal.removeEventListener('abort', onAbort);
    socket.destroy();
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  const onAbort = () => fail(signal.reason);
  const lose = (reason: unknown) => fail(toServerError(access, 'following keyspace notifications', reason));
  const parser = new MessageParser((message) => {
    if (message.count === MESSAGE_ELEMENTS) {
      messages += 1;
      onMessage(message);
      return;
    }
    const line = message.bytes.toString('latin1', message.starts[0], message.ends[0]);
    if (line.startsWith('-')) fail(toServerError(access, 'subscribing', new Error(line.slice(1))));
    else waiting.shift()?.resolve();
  });
  receive = (piece) => {
    try {
      if (!lost.signal.aborted) parser.push(piece);
    } catch (error) {
      const what = `The source ${access.address} sent what is no notification: ${errorText(error)}.`;
      fail(new MigrationError('source-protocol-error', what, { cause: error }));
    }
  };
  socket.on('error', lose);
  socket.on('end', () => lose(new Error('connection closed')));
  socket.on('close', () => lose(new Error('connection closed')));
  signal.addEventListener('abort', onAbort, { once: true });
  const ask = (...commands: readonly (readonly string[])[]) => {
    const answers = commands.map(
      () =>
        new Promise<void>((resolve, reject) => {
          if (lost.signal.aborted) reject(lost.signal.reason);
          else waiting.push({ resolve, reject });
        }),
    );
    socket.write(encodeCommands(commands));
    return Promise.all(answers);
  };
  await ask(...authCommand(access), ...patterns.map((pattern) => ['PSUBSCRIBE', pattern]));
  return {
    mark: async () => {
      await ask(['PING']);
    },
    lost: lost.signal,
    get count() {
      return messages;
    },
    [Symbol.asyncDispose]: async () => lose(new Error('connection closed by us')),
  };
}

const MESSAGE_ELEMENTS = 4;

function authCommand({ username, password }: Access): string[][] {
  if (password === undefined) return [];
  return [username === undefined ? ['AUTH', password.reveal()] : ['AUTH', username, password.reveal()]];
}

/** The channels of all keys in all databases. */
export function patternOf(form: EventForm): string {
  return `__${form}@*__:*`;
}

const PREFIX_BYTES = '__keyevent@'.length;
const UNDERSCORE = 0x5f;
/** Two underscores and a colon. */
const BEHIND_DB_BYTES = 3;

/** Tells the listener which key an event names; our own are left out. */
export function readEvent({ bytes, starts, ends }: Message, form: EventForm, onKey: KeyListener): void {
  const [, , channelAt = 0, payloadAt = 0] = starts;
  const [, , channelEnd = 0, payloadEnd = 0] = ends;
  let at = channelAt + PREFIX_BYTES;
  let db = 0;
  for (; at < channelEnd && bytes[at] !== UNDERSCORE; at++) db = db * 10 + (bytes[at] ?? 0) - 48;
  const keyAt = form === 'keyevent' ? payloadAt : at + BEHIND_DB_BYTES;
  const keyEnd = form === 'keyevent' ? payloadEnd : channelEnd;
  if (db === 0 && isReservedKey(bytes, keyAt, keyEnd)) return;
  onKey(db, bytes, keyAt, keyEnd);
}
