import type { HashFieldTtl } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import type { HeldBytes, Part } from '../redis/held-bytes.ts';
import { type Dialect, VALKEY_DIALECT } from '../redis/rdb/dialect.ts';
import {
  FOOTER_BYTES,
  FOOTER_VERSION,
  footerOf,
  REDIS_HASH_FOOTER_VERSION,
  VALKEY_FOOTER_VERSION,
  withFooter,
} from '../redis/rdb/footer.ts';
import { toPlainHash, toValkeyHash } from '../redis/rdb/hash-field-ttl.ts';
import {
  TYPE_REDIS_HASH_LISTPACK_EX,
  TYPE_REDIS_HASH_METADATA,
  TYPE_SET_LISTPACK,
  TYPE_STREAM_LISTPACKS_3,
  TYPE_VALKEY_HASH_2,
  VALUE_LAYOUTS,
} from '../redis/rdb/layouts.ts';
import { toPlainSet, toRedisHash, toStreamWithoutActivity } from '../redis/rdb/older-forms.ts';

const TYPE_SET = 2;
const TYPE_HASH = 4;
const TYPE_STREAM_LISTPACKS_2 = 19;

/** What decides which form of a value the target takes. */
export type TargetForm = {
  readonly hasHashFieldTtls: boolean;
  /** What becomes of the expiry times of hash fields where it has none. */
  readonly hashFieldTtl: HashFieldTtl;
  /** Whether expiry times go as they are, to a target that no sync holds; default false: padded. */
  readonly areExpiriesExact?: boolean;
  /** What it loads; default what every Valkey does. */
  readonly dialect?: Dialect;
};

/** A value for RESTORE without its footer: `bytes[start, end)` behind the byte `type`. */
export type Value = {
  readonly type: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** The version that its footer must name. */
  readonly version: number;
};

/**
 * The value in a form that the target takes: types that it shares as they are, others in an older form, hashes of which
 * fields expire in the layout of the target where it has one, with padded expiry times, else as plain ones where that is
 * wanted.
 *
 * @throws source-data-unsupported
 */
export function toTargetValue(value: Omit<Value, 'version'>, target: TargetForm): Value {
  const { type } = value;
  const { dialect = VALKEY_DIALECT } = target;
  const version = dialect.footerVersion;
  const inForm = (form: number, bytes: Buffer): Value => {
    return { type: form, bytes, start: 0, end: bytes.length, version };
  };
  if (dialect.lacks.has(type)) {
    if (type === TYPE_SET_LISTPACK) return inForm(TYPE_SET, toPlainSet(value));
    if (type === TYPE_STREAM_LISTPACKS_3) {
      return inForm(TYPE_STREAM_LISTPACKS_2, toStreamWithoutActivity(value));
    }
  }
  switch (type) {
    case TYPE_VALKEY_HASH_2:
    case TYPE_REDIS_HASH_METADATA:
    case TYPE_REDIS_HASH_LISTPACK_EX: {
      if (!target.hasHashFieldTtls) {
        if (target.hashFieldTtl === 'refuse') throw hashFieldTtlsUnsupported();
        return inForm(TYPE_HASH, toPlainHash(value));
      }
      if (dialect.expiringHashes === 'redis') {
        const redisType = type === TYPE_VALKEY_HASH_2 ? TYPE_REDIS_HASH_METADATA : type;
        return { ...inForm(redisType, toRedisHash(value)), version: REDIS_HASH_FOOTER_VERSION };
      }
      const converted = toValkeyHash(value, target);
      const whole = { bytes: converted, start: 0, end: converted.length };
      return { type: TYPE_VALKEY_HASH_2, ...whole, version: VALKEY_FOOTER_VERSION };
    }
    default:
      return { ...value, version };
  }
}

/** Whether the value is a hash of which fields expire. */
export function isExpiringHash(type: number): boolean {
  return (
    type === TYPE_VALKEY_HASH_2 || type === TYPE_REDIS_HASH_METADATA || type === TYPE_REDIS_HASH_LISTPACK_EX
  );
}

/**
 * A DUMP payload of the source as one that the target takes.
 *
 * @throws source-data-unsupported for types that the target cannot hold
 */
export function toTargetPayload(payload: Buffer, target: TargetForm): Buffer {
  const type = payload[0];
  if (type === undefined || payload.length <= FOOTER_BYTES) return payload;
  const footerAt = payload.length - FOOTER_BYTES;
  const isOfValkey = payload.readUInt16LE(footerAt) >= VALKEY_FOOTER_VERSION;
  const isShared = VALUE_LAYOUTS.has(type);
  const isHashWithTtls = isOfValkey
    ? type === TYPE_VALKEY_HASH_2
    : type === TYPE_REDIS_HASH_METADATA || type === TYPE_REDIS_HASH_LISTPACK_EX;
  if (!isShared && !isHashWithTtls) {
    throw new MigrationError(
      'source-data-unsupported',
      `The source restored a value of the type ${type}, which this version does not carry.`,
    );
  }
  const value = toTargetValue({ type, bytes: payload, start: 1, end: footerAt }, target);
  const footer = Buffer.alloc(FOOTER_BYTES);
  const content = value.bytes.subarray(value.start, value.end);
  return withFooter(Buffer.concat([Buffer.of(value.type), content, footer]), value.version);
}

/**
 * The same for a payload on disk: only its footer is made anew. What must be converted is read into memory, since it
 * is small unless a user has configured it otherwise.
 *
 * @throws source-data-unsupported, spool-failed
 */
export function toTargetParts(held: HeldBytes, target: TargetForm): readonly Part[] {
  const [type = 0] = held.read(0, 1);
  if (!VALUE_LAYOUTS.has(type)) return [toTargetPayload(held.read(), target)];
  const footerAt = held.size - FOOTER_BYTES;
  const footer = footerOf(held.pieces(0, footerAt), FOOTER_VERSION);
  return [{ held, start: 0, end: footerAt }, footer];
}

/** What is said of expiring hash fields that the target cannot hold. */
export function hashFieldTtlsUnsupported(): MigrationError {
  return new MigrationError(
    'source-data-unsupported',
    'The source holds hashes of which single fields expire, which Valkey knows from version 9 on only.',
    {
      remedy:
        'Choose a target of Valkey 9, or remove these expiries at the source by HPERSIST, or give `hash-field-ttl: keep-values` to go on without them.',
    },
  );
}
