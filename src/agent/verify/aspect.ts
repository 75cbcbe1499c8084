import { createHash } from 'node:crypto';
import type { DifferenceKind } from '../../contract/reports.ts';
import { DELETED_PENDING, READ_AGAIN } from '../../contract/skipped.ts';
import type { Command } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { type Expiry, expiryCommands, isSameExpiry, NO_EXPIRY, readExpiries, readTime } from './expiry.ts';
import type { Capabilities } from './session.ts';

/**
 * One thing about a key that can be read by itself and be equal or not: what a comparison finds and what is then
 * looked at again, at both sides, until it is equal once or stays different.
 */
export type Aspect =
  | { readonly of: 'type' }
  | { readonly of: 'ttl' }
  /** The DUMP of a value that only its module understands. */
  | { readonly of: 'payload' }
  | { readonly of: 'string-block'; readonly offset: number }
  | { readonly of: 'list-window'; readonly index: number }
  /** All of a small list. */
  | { readonly of: 'list' }
  | { readonly of: 'hash-field'; readonly name: Buffer }
  | { readonly of: 'hash-field-ttl'; readonly name: Buffer }
  | { readonly of: 'set-member'; readonly name: Buffer }
  | { readonly of: 'zset-member'; readonly name: Buffer }
  | { readonly of: 'stream-entry'; readonly id: string }
  /** A field of XINFO STREAM. */
  | { readonly of: 'stream-info'; readonly field: string }
  /** A field of XINFO GROUPS; `name` is whether there is the group. */
  | { readonly of: 'stream-group'; readonly group: Buffer; readonly field: string }
  /** An entry of the PEL: consumer and delivery count. */
  | { readonly of: 'stream-pending'; readonly group: Buffer; readonly id: string };

/** What one side holds of an aspect. */
export type Holding = {
  /** Equal if and only if the content is (but for expiry times); empty when there is nothing. */
  readonly identity: string;
  /** The content in bytes where it is one string. */
  readonly bytes?: Buffer | undefined;
  readonly expiry?: Expiry;
  /** How much there is around it: length of the string, elements of the list. */
  readonly length?: number;
  readonly pending?: Pending;
  /** For a score: whether the server writes 0 for -0 where it stands, as since Redis 7.2 all do in a listpack. */
  readonly losesMinus?: boolean;
};

/** An entry of a PEL, which may not be there. */
export type Pending = {
  /** Empty when the entry is not pending. */
  readonly consumer: string;
  readonly deliveries: number;
  /** Whether the stream still has the message. */
  readonly hasMessage: boolean;
  /** Whether the server keeps entries pending whose message is gone when they are claimed: Redis up to 6.2. */
  readonly outlivesMessage: boolean;
};

type Rule<Kind extends Aspect['of']> = {
  readonly kind: DifferenceKind;
  commands(
    aspect: Extract<Aspect, { of: Kind }>,
    key: Buffer,
    capabilities: Capabilities,
  ): readonly Command[];
  read(replies: readonly Reply[], aspect: Extract<Aspect, { of: Kind }>, capabilities: Capabilities): Holding;
};

/** The bytes of a string that are looked at together. */
export const STRING_BLOCK_BYTES = 4096;
/** The elements of a list that are looked at together: at the difference, at the head and at the tail. */
const LIST_WINDOW = 8;
/** Up to here a value is its own identity. */
const SHORT_BYTES_MAX = 44;
/** More than a list that is looked at as a whole can have, unless it grows twofold meanwhile. */
const LIST_MAX = 1024;
const NOTHING: Holding = { identity: '' };

const RULES: { readonly [Kind in Aspect['of']]: Rule<Kind> } = {
  type: {
    kind: 'type',
    commands: (_, key, capabilities) => [['TYPE', key], ...expiryCommands([key], capabilities)],
    read: ([type, ...expiries], _, capabilities) => ({
      identity: type === 'none' ? '' : String(type),
      expiry: readExpiries(expiries, capabilities)[0] ?? NO_EXPIRY,
    }),
  },
  ttl: {
    kind: 'ttl',
    commands: (_, key, capabilities) => expiryCommands([key], capabilities),
    read: (replies, _, capabilities) => expiryHolding(readExpiries(replies, capabilities)[0] ?? NO_EXPIRY),
  },
  payload: {
    kind: 'value',
    commands: (_, key) => [['DUMP', key]],
    read: ([dump]) => bytesHolding(Buffer.isBuffer(dump) ? payloadOf(dump) : null),
  },
  'string-block': {
    kind: 'value',
    commands: ({ offset }, key) => [
      ['GETRANGE', key, offset, offset + STRING_BLOCK_BYTES - 1],
      ['STRLEN', key],
    ],
    read: ([block, length]) => ({ ...bytesHolding(block), length: Number(length) }),
  },
  'list-window': {
    kind: 'value',
    commands: ({ index }, key) => [
      ['LRANGE', key, index, index + LIST_WINDOW - 1],
      ['LRANGE', key, 0, LIST_WINDOW - 1],
      ['LRANGE', key, -LIST_WINDOW, -1],
      ['LLEN', key],
    ],
    read: (replies) => ({ identity: identityOf(replies), length: Number(replies[3]) }),
  },
  list: {
    kind: 'value',
    commands: (_, key) => [
      ['LRANGE', key, 0, LIST_MAX - 1],
      ['LRANGE', key, -LIST_MAX, -1],
      ['LLEN', key],
    ],
    read: (replies) => ({ identity: identityOf(replies), length: Number(replies[2]) }),
  },
  'hash-field': {
    kind: 'value',
    commands: ({ name }, key, { fieldExpiry }) => [
      ['HGET', key, name],
      ...(fieldExpiry ? [['HPEXPIRETIME', key, 'FIELDS', 1, name]] : []),
    ],
    read: ([value, time], _, capabilities) => {
      const atMs = capabilities.fieldExpiry ? readFieldExpiry(time, capabilities) : -1;
      return { ...bytesHolding(value), expiry: { atMs, slackMs: 0 } };
    },
  },
  'hash-field-ttl': {
    kind: 'ttl',
    commands: ({ name }, key, { fieldExpiry }) =>
      fieldExpiry ? [['HPEXPIRETIME', key, 'FIELDS', 1, name]] : [['HEXISTS', key, name]],
    read: ([reply], _, capabilities) =>
      expiryHolding({ atMs: readFieldExpiry(reply, capabilities), slackMs: 0 }),
  },
  'set-member': {
    kind: 'value',
    commands: ({ name }, key) => [['SISMEMBER', key, name]],
    read: ([reply]) => (reply === 1 ? { identity: 'member' } : NOTHING),
  },
  'zset-member': {
    kind: 'value',
    commands: ({ name }, key, { encoding }) => [
      ['ZSCORE', key, name],
      ...(encoding ? [['OBJECT', 'ENCODING', key]] : []),
    ],
    read: ([reply, encoding], _, capabilities) => {
      if (!Buffer.isBuffer(reply)) return NOTHING;
      const losesMinus = !capabilities.encoding || toBytes(encoding).toString() === 'listpack';
      return { identity: scoreIdentity(reply), losesMinus };
    },
  },
  'stream-entry': {
    kind: 'value',
    commands: ({ id }, key) => [['XRANGE', key, id, id]],
    read: ([entries]) => listHolding(entries),
  },
  'stream-info': {
    kind: 'stream-metadata',
    commands: (_, key) => [['XINFO', 'STREAM', key]],
    read: ([reply], { field }) => textHolding(readFields(reply).get(field)),
  },
  'stream-group': {
    kind: 'stream-metadata',
    commands: (_, key) => [['XINFO', 'GROUPS', key]],
    read: ([reply], { group, field }) => textHolding(findNamed(reply, group)?.get(field)),
  },
  'stream-pending': {
    kind: 'stream-metadata',
    commands: ({ group, id }, key) => [
      ['XPENDING', key, group, id, id, 1],
      ['XRANGE', key, id, id],
    ],
    read: ([reply, messages], _, { absoluteExpiry }) => {
      const entry = Array.isArray(reply) ? reply[0] : undefined;
      const [, consumer, , deliveries] = Array.isArray(entry) ? entry : [];
      const pending = {
        consumer: toBytes(consumer).toString('latin1'),
        deliveries: Number(deliveries ?? 0),
        hasMessage: Array.isArray(messages) && messages.length > 0,
        // Both came with Redis 7.0.
        outlivesMessage: !absoluteExpiry,
      };
      return {
        ...(Array.isArray(entry) ? { identity: identityOf([consumer, deliveries]) } : NOTHING),
        pending,
      };
    },
  },
};

/** Which kind of difference it is when the aspect stays different. */
export function kindOf(aspect: Aspect): DifferenceKind {
  return RULES[aspect.of].kind;
}

/** The commands that read the aspect at a side; always the same number for the same side. */
export function aspectCommands(aspect: Aspect, key: Buffer, capabilities: Capabilities): readonly Command[] {
  return ruleOf(aspect).commands(aspect, key, capabilities);
}

/** What the replies to {@link aspectCommands} say; an error such as WRONGTYPE means that there is nothing. */
export function readAspect(aspect: Aspect, replies: readonly Reply[], capabilities: Capabilities): Holding {
  if (replies.some((reply) => reply instanceof ErrorReply)) return NOTHING;
  return ruleOf(aspect).read(replies, aspect, capabilities);
}

/** Whether both sides hold the same. */
export function isSameHolding(a: Holding, b: Holding, toleranceMs: number): boolean {
  if (a.expiry === undefined || b.expiry === undefined || a.identity !== 'expiry' || b.identity !== 'expiry')
    return a.identity === b.identity;
  return isSameExpiry(a.expiry, b.expiry, toleranceMs);
}

/**
 * Whether a target that has everything that was replicated holds this for what the source holds: servers up to Redis
 * 7.0 keep a score of -0 in small sorted sets, later ones write 0, also on a replica.
 */
export function isAsReplicated(source: Holding, target: Holding): boolean {
  return source.identity === '-0' && target.identity === '0' && target.losesMinus === true;
}

/**
 * Why a difference is none that replication could have avoided, so that a native replica has it too; undefined for all
 * others. Tried on Redis 6.2 to 8.0:
 *
 * A consumer that reads its pending entries again raises their delivery counts, and that is not replicated. The next
 * claim carries the count of the source along. A count that is higher at the target has no such excuse.
 *
 * Redis up to 6.2 keeps an entry pending that is claimed after its message was deleted; later ones drop it.
 */
export function notReplicatedReason(source: Holding, target: Holding): string | undefined {
  const [a, b] = [source.pending, target.pending];
  if (a === undefined || b === undefined || a.consumer === '') return undefined;
  if (b.consumer === '') {
    const isOfDeleted = a.outlivesMessage && !a.hasMessage && !b.hasMessage;
    return isOfDeleted ? DELETED_PENDING : undefined;
  }
  return isReadAgain(a, b) ? READ_AGAIN : undefined;
}

/** Whether a consumer has read an entry again at the source, and so has a higher count there. */
export function isReadAgain(source: Delivery, target: Delivery): boolean {
  return source.consumer === target.consumer && source.deliveries > target.deliveries;
}

type Delivery = Pick<Pending, 'consumer' | 'deliveries'>;

/** `Rule<Kind>` for the aspect of that kind: the table pairs them, which the type checker cannot follow. */
function ruleOf<Kind extends Aspect['of']>(aspect: { of: Kind }): Rule<Kind> {
  return RULES[aspect.of];
}

/** A DUMP without its footer: two bytes of RDB version and eight of checksum. */
export function payloadOf(dump: Buffer): Buffer {
  return dump.subarray(0, Math.max(0, dump.length - 10));
}

/** A score as the double it stands for: servers print it with different digits. -0 and 0 are told apart. */
export function scoreIdentity(text: Buffer): string {
  const value = parseScore(text.toString('latin1'));
  return Object.is(value, -0) ? '-0' : String(value);
}

function parseScore(text: string): number {
  const infinity = /^([+-]?)inf(inity)?$/i.exec(text);
  if (infinity === null) return Number(text);
  return infinity[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** HPEXPIRETIME answers `[ms | -1 | -2]`, and nil or -2 without the key; HEXISTS stands in where no field expires. */
function readFieldExpiry(reply: Reply | undefined, capabilities: Capabilities): number {
  if (!capabilities.fieldExpiry) return reply === 1 ? -1 : -2;
  return readTime(Array.isArray(reply) ? reply[0] : undefined, capabilities);
}

/** The name-value pairs of one XINFO map. */
export function readFields(reply: Reply | undefined): ReadonlyMap<string, Reply> {
  const fields = new Map<string, Reply>();
  if (!Array.isArray(reply)) return fields;
  for (let index = 0; index + 1 < reply.length; index += 2)
    fields.set(String(reply[index]), reply[index + 1]);
  return fields;
}

function findNamed(reply: Reply | undefined, name: Buffer): ReadonlyMap<string, Reply> | undefined {
  if (!Array.isArray(reply)) return undefined;
  return reply.map(readFields).find((fields) => name.equals(toBytes(fields.get('name'))));
}

/** Whether two replies are the same through and through. */
export function isSameReply(a: Reply, b: Reply): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => isSameReply(item, b[index] ?? null));
  }
  if (a === null || b === null || Array.isArray(a) || Array.isArray(b)) return a === b;
  return toBytes(a).equals(toBytes(b));
}

/** A reply that stands for a string, as bytes. */
export function toBytes(reply: Reply | undefined): Buffer {
  return Buffer.isBuffer(reply) ? reply : Buffer.from(String(reply ?? ''));
}

function expiryHolding(expiry: Expiry): Holding {
  return expiry.atMs === -2 ? NOTHING : { identity: 'expiry', expiry };
}

function bytesHolding(value: Reply | undefined): Holding {
  if (!Buffer.isBuffer(value)) return NOTHING;
  // A digest of what is shorter than it would only cost time.
  const identity = value.length <= SHORT_BYTES_MAX ? `=${value.toString('latin1')}` : identityOf([value]);
  return { identity, bytes: Buffer.from(value) };
}

function textHolding(value: Reply | undefined): Holding {
  return value === undefined || value === null
    ? NOTHING
    : { identity: `=${toBytes(value).toString('latin1')}` };
}

function listHolding(reply: Reply | undefined): Holding {
  return Array.isArray(reply) && reply.length > 0 ? { identity: identityOf(reply) } : NOTHING;
}

/** A digest of replies that differs when any length, nesting or byte does. */
function identityOf(replies: readonly Reply[]): string {
  const hash = createHash('sha256');
  const add = (reply: Reply) => {
    if (Array.isArray(reply)) {
      hash.update(`*${reply.length}\n`);
      for (const item of reply) add(item);
    } else if (reply === null) {
      hash.update('_');
    } else {
      const bytes = toBytes(reply);
      hash.update(`$${bytes.length}\n`).update(bytes);
    }
  };
  for (const reply of replies) add(reply);
  return hash.digest('base64');
}
