import { LzfDecoder } from '../redis/rdb/lzf.ts';
import { malformedRdb } from '../redis/rdb/malformed.ts';
import type { StringHead } from '../redis/rdb/string.ts';
import type { RdbWindow } from '../redis/rdb/window.ts';

/** Where a string is taken from; `more` waits for the next bytes of the source and pushes them to `values`. */
export type StringSource = { readonly values: RdbWindow; readonly more: () => Promise<void> };

/**
 * The plain bytes of a long string behind its head, piece by piece: each holds until the next is asked for. They are
 * exactly as many as the head says.
 *
 * @throws source-protocol-error, what the source failed with
 */
export async function* stringPieces(
  { values, more }: StringSource,
  head: StringHead,
): AsyncGenerator<Buffer> {
  const decoder = head.isCompressed ? new LzfDecoder() : undefined;
  let left = head.rawBytes;
  let plainLeft = head.plainBytes;
  while (left > 0) {
    const piece = values.takeSome(left);
    if (piece.length === 0) {
      await more();
      continue;
    }
    left -= piece.length;
    for (const plain of decoder?.decode(piece, { isLast: left === 0 }) ?? [piece]) {
      plainLeft -= plain.length;
      if (plainLeft < 0) break;
      yield plain;
    }
  }
  if (plainLeft !== 0) throw malformedRdb('a compressed string is damaged');
}
