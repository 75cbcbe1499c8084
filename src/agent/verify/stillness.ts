import type { Reply } from '../redis/reply-parser.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { readTimeMs } from './expiry.ts';
import type { Pair } from './key-comparison.ts';
import type { Session } from './session.ts';

/** A moment of a server; two that are the same text enclose a time in which it changed nothing. */
type Moment = string;

/**
 * What tells that nothing was written and nothing went away: the first grows with every write, and a save takes it
 * back, which the second tells, in seconds. What goes away by itself also shows in the number of keys.
 */
const FIELDS = ['rdb_changes_since_last_save', 'rdb_last_save_time', 'expired_keys', 'evicted_keys'];

/** A moment of both sides; undefined where a server does not tell, or takes its data from another one. */
export async function readMoment({ source, target }: Pair): Promise<Moment | undefined> {
  const [a, b] = await Promise.all([readSide(source), readSide(target)]);
  return a === undefined || b === undefined ? undefined : `${a}\n${b}`;
}

async function readSide(session: Session): Promise<Moment | undefined> {
  const times = (await session.askEvery(['TIME'])).map(readTimeMs);
  const sections: (readonly Reply[])[] = [];
  for (const section of ['persistence', 'stats', 'replication', 'keyspace']) {
    sections.push(await session.askEvery(['INFO', section]));
  }
  const servers = sections[0]?.map((_, server) =>
    sections.map((replies) => String(replies[server])).join('\n'),
  );
  const moments = (servers ?? []).map((info, server) => {
    const lines = info.split(/\r?\n/);
    const told = FIELDS.map((field) => lines.find((line) => line.startsWith(`${field}:`)));
    const isMaster = lines.includes('role:master');
    // A second save within the same second would take further writes back and look like the first.
    const savedAtMs = Number(/^rdb_last_save_time:(\d+)/m.exec(info)?.[1] ?? Number.NaN) * 1000;
    const isSaveTold = savedAtMs > 0 && savedAtMs + 1000 <= (times[server] ?? 0);
    const counts = lines.filter((line) => /^db\d+:/.test(line)).map((line) => line.replace(/,.*/, ''));
    return isMaster && isSaveTold && !told.includes(undefined) ? [...told, ...counts].join('\n') : undefined;
  });
  return moments.includes(undefined) ? undefined : moments.join('\n');
}

/**
 * Whether the source holds no key of the database besides `keys` that a scan of the target returned and that were all
 * seen equal, by counting alone. That is proof only if neither side has changed since `before` the scan:
 *
 * The scan returns every key. So when it returned as many as the target holds, it returned none twice. Those are all at
 * the source, and when the source holds as many, it holds no other.
 */
export async function holdsNothingElse(
  pair: Pair,
  { db, keys, before }: { readonly db: number; readonly keys: number; readonly before: Moment | undefined },
): Promise<boolean> {
  if (before === undefined) return false;
  const [atSource, atTarget] = await Promise.all([
    countForeign(pair.source, db),
    countForeign(pair.target, db),
  ]);
  return atSource === keys && atTarget === keys && (await readMoment(pair)) === before;
}

/** How many keys of a database are not ours; those that a cluster has of ours on every primary are not told apart. */
async function countForeign(session: Session, db: number): Promise<number> {
  const keys = (await session.databases()).get(db)?.keys ?? 0;
  if (db !== 0 || keys === 0) return keys;
  const [ours] = await session.ask(db, [['EXISTS', RESERVED_KEY]]);
  return keys - Number(ours);
}
