import type { RepairMode } from '../../contract/jobs.ts';
import type { Command } from '../redis/raw-connection.ts';
import { FOOTER_BYTES, withFooter } from '../redis/rdb/footer.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import type { Pair } from '../verify/key-comparison.ts';
import type { Mended } from '../verify/mender.ts';

/**
 * Restores the function libraries of the source on every primary of the target: over those of the same name, or, when
 * extra ones are removed too, in place of all that are there. They count as one thing.
 *
 * @throws the codes of the sessions
 */
export async function mendFunctions(
  { source, target }: Pair,
  { mode, footerVersion }: { readonly mode: RepairMode; readonly footerVersion: number },
): Promise<Mended> {
  const failed = (reason: string): Mended => ({
    rewritten: 0,
    removed: 0,
    failures: new Map([[reason, 1]]),
  });
  const [payload] = await source.askEvery(['FUNCTION', 'DUMP']);
  if (!Buffer.isBuffer(payload)) {
    return failed(payload instanceof ErrorReply ? `the source refused: ${payload.message}` : 'no functions');
  }
  const isEmpty = payload.length <= FOOTER_BYTES;
  if (isEmpty && mode === 'differences')
    return failed('the source has no functions, and extra ones are kept');
  const policy = mode === 'differences' ? 'REPLACE' : 'FLUSH';
  const command: Command = isEmpty
    ? ['FUNCTION', 'FLUSH']
    : ['FUNCTION', 'RESTORE', withFooter(payload, footerVersion), policy];
  const replies = await target.askEvery(command);
  const refusal = replies.find((reply) => reply instanceof ErrorReply);
  if (refusal instanceof ErrorReply) return failed(`the target refused functions: ${refusal.message}`);
  return { rewritten: 1, removed: 0, failures: new Map() };
}
