import { createHash } from 'node:crypto';
import type { Side } from '../../contract/endpoint.ts';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { Difference } from '../../contract/reports.ts';
import { displayName } from '../redis/key-display.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';
import { readFields, toBytes } from './aspect.ts';
import type { Pair } from './key-comparison.ts';
import type { Session } from './session.ts';

/** Functions belong to no database. */
export const FUNCTIONS_DB = -1;

/**
 * Compares the function libraries of both sides by name, engine and code; a server without functions has none. In a
 * cluster every primary must have them all.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function compareFunctions(pair: Pair, keyDisplay: KeyDisplay): Promise<readonly Difference[]> {
  const [atSource, atTarget] = await Promise.all([readLibraries(pair.source), readLibraries(pair.target)]);
  const names = new Map(
    [...atSource, ...atTarget].flatMap((libraries) =>
      Array.from(libraries, ([name, { bytes }]) => [name, bytes] as const),
    ),
  );
  const differences: Difference[] = [];
  for (const [name, bytes] of names) {
    const detail = differenceOf(
      atSource.map((libraries) => libraries.get(name)),
      atTarget.map((libraries) => libraries.get(name)),
    );
    if (detail === undefined) continue;
    const key = displayName(bytes, keyDisplay);
    differences.push({ db: FUNCTIONS_DB, key, type: 'function', kind: 'function', detail });
  }
  return differences;
}

type Library = { readonly bytes: Buffer; readonly codeLength: number; readonly digest: string };

/** The libraries of every primary, by name. */
async function readLibraries(session: Session): Promise<readonly ReadonlyMap<string, Library>[]> {
  const replies = await session.askEvery(['FUNCTION', 'LIST', 'WITHCODE']);
  return replies.map((reply) => parseLibraries(session, reply));
}

function parseLibraries({ access }: Session, reply: Reply): ReadonlyMap<string, Library> {
  if (reply instanceof ErrorReply) {
    // Before Redis 7.0 there are no functions.
    if (/unknown (sub)?command/i.test(reply.message)) return new Map();
    throw toServerError(access, 'reading functions', reply);
  }
  const libraries = Array.isArray(reply) ? reply.map(readFields) : [];
  return new Map(
    libraries.map((fields) => {
      const bytes = Buffer.from(toBytes(fields.get('library_name')));
      const code = toBytes(fields.get('library_code'));
      const digest = createHash('sha256')
        .update(toBytes(fields.get('engine')))
        .update('\0')
        .update(code);
      return [bytes.toString('latin1'), { bytes, codeLength: code.length, digest: digest.digest('hex') }];
    }),
  );
}

/** A library, or none, of each primary of a side. */
type Copies = readonly (Library | undefined)[];

function differenceOf(source: Copies, target: Copies): string | undefined {
  const uneven = unevennessOf('source', source) ?? unevennessOf('target', target);
  if (uneven !== undefined) return uneven;
  const [atSource, atTarget] = [source[0], target[0]];
  if (atTarget === undefined) return 'library only at the source';
  if (atSource === undefined) return 'library only at the target';
  if (atSource.digest === atTarget.digest) return undefined;
  return `code differs: ${atSource.codeLength} bytes at the source, ${atTarget.codeLength} at the target`;
}

/** What is wrong with a cluster whose primaries do not have the same library. */
function unevennessOf(side: Side, copies: Copies): string | undefined {
  const missing = copies.filter((copy) => copy === undefined).length;
  if (missing > 0 && missing < copies.length) {
    return `missing on ${missing} of ${copies.length} primaries of the ${side}`;
  }
  const digests = new Set(copies.map((copy) => copy?.digest));
  return digests.size > 1 ? `code differs among the primaries of the ${side}` : undefined;
}
