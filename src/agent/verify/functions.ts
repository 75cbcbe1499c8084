import { createHash } from 'node:crypto';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { Difference } from '../../contract/reports.ts';
import { displayName } from '../redis/key-display.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';
import { readFields, toBytes } from './aspect.ts';
import type { Pair } from './key-comparison.ts';
import type { Session } from './session.ts';

/** Functions belong to no database. */
export const FUNCTIONS_DB = -1;

/**
 * Compares the function libraries of both servers by name, engine and code; one without functions has none.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function compareFunctions(pair: Pair, keyDisplay: KeyDisplay): Promise<readonly Difference[]> {
  const [atSource, atTarget] = await Promise.all([readLibraries(pair.source), readLibraries(pair.target)]);
  const differences: Difference[] = [];
  for (const [name, { bytes }] of new Map([...atSource, ...atTarget])) {
    const detail = differenceOf(atSource.get(name), atTarget.get(name));
    if (detail === undefined) continue;
    const key = displayName(bytes, keyDisplay);
    differences.push({ db: FUNCTIONS_DB, key, type: 'function', kind: 'function', detail });
  }
  return differences;
}

type Library = { readonly bytes: Buffer; readonly codeLength: number; readonly digest: string };

async function readLibraries(session: Session): Promise<ReadonlyMap<string, Library>> {
  const [reply] = await session.ask(0, [['FUNCTION', 'LIST', 'WITHCODE']]);
  if (reply instanceof ErrorReply) {
    // Before Redis 7.0 there are no functions.
    if (/unknown (sub)?command/i.test(reply.message)) return new Map();
    throw toServerError(session.access, 'reading functions', reply);
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

function differenceOf(source: Library | undefined, target: Library | undefined): string | undefined {
  if (target === undefined) return 'library only at the source';
  if (source === undefined) return 'library only at the target';
  if (source.digest === target.digest) return undefined;
  return `code differs: ${source.codeLength} bytes at the source, ${target.codeLength} at the target`;
}
