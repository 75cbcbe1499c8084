import { HASH_FIELD_TTL } from '../../contract/skipped.ts';
import { VALKEY_DIALECT } from '../redis/rdb/dialect.ts';
import { FOOTER_BYTES, VALKEY_FOOTER_VERSION, writeFooter } from '../redis/rdb/footer.ts';
import { TYPE_MODULE, TYPE_VALKEY_HASH_2, VALUE_LAYOUTS } from '../redis/rdb/layouts.ts';
import { moduleName } from '../redis/rdb/module-name.ts';
import {
  hashFieldTtlsUnsupported,
  isExpiringHash,
  type TargetForm,
  toTargetPayload,
} from '../sync/payload.ts';
import type { Skips } from '../sync/skips.ts';
import type { Part } from './command-buffer.ts';
import type { DirtyKey } from './dirty-keys.ts';
import type { StreamGroups } from './stream-groups.ts';

/**
 * A DUMP payload of the source as one that the target takes; undefined for what it cannot hold. The bytes of the
 * source may be changed.
 *
 * @throws source-data-unsupported
 */
export type ToPayload = (at: DirtyKey, payload: Part) => Part | undefined;

/** Is told of a hash of which fields expire and which is written without that. @throws source-data-unsupported */
export type DropFieldTimes = (at: DirtyKey) => void;

/** Keys that are remembered as skipped, so that one that is read again is not counted again. */
const SKIPPED_REMEMBERED_MAX = 100_000;

/** Streams of every version. */
const STREAM_TYPES: ReadonlySet<number> = new Set([15, 19, 21]);

/** Makes payloads for one kind of target; `skips` counts what is left out, each key once. */
export function payloadMaker(
  form: TargetForm,
  skips: Skips,
  streams: StreamGroups,
): { readonly toPayload: ToPayload; readonly dropFieldTimes: DropFieldTimes } {
  const remembered = new Set<string>();
  const { footerVersion, lacks } = form.dialect ?? VALKEY_DIALECT;
  const skip = ({ db, key }: DirtyKey, reason: string) => {
    const id = `${db} ${key.toString('latin1')}`;
    if (remembered.has(id)) return;
    if (remembered.size < SKIPPED_REMEMBERED_MAX) remembered.add(id);
    skips.add({ what: 'keys', reason, key: { db, name: key } });
  };
  const dropFieldTimes: DropFieldTimes = (at) => {
    if (form.hashFieldTtl === 'refuse') throw hashFieldTtlsUnsupported();
    skip(at, HASH_FIELD_TTL);
  };
  const toPayload: ToPayload = (at, payload) => {
    const { bytes, start, end } = payload;
    const type = bytes[start] ?? 0;
    const footerAt = end - FOOTER_BYTES;
    if (type === TYPE_MODULE) {
      skip(at, `module ${moduleName(bytes, start + 1)}`);
      return undefined;
    }
    if (STREAM_TYPES.has(type)) streams.add(at, end - start);
    const version = bytes.readUInt16LE(footerAt);
    const isOfValkeyHash = type === TYPE_VALKEY_HASH_2 && version >= VALKEY_FOOTER_VERSION;
    if (VALUE_LAYOUTS.has(type) && !isOfValkeyHash && !lacks.has(type)) {
      // Every target knows the older footers, which hold; a new one costs a sum over the value.
      if (version > footerVersion) {
        writeFooter(bytes, footerAt, {
          type,
          bytes,
          start: start + 1,
          end: footerAt,
          version: footerVersion,
        });
      }
      return payload;
    }
    const converted = toTargetPayload(bytes.subarray(start, end), form);
    if (!form.hasHashFieldTtls && isExpiringHash(type)) dropFieldTimes(at);
    return { bytes: converted, start: 0, end: converted.length };
  };
  return { toPayload, dropFieldTimes };
}
