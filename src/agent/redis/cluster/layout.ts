import type { RawConnection } from '../raw-connection.ts';
import { toServerError } from '../server-error.ts';
import { formatSlots } from './slots.ts';
import type { Topology } from './topology.ts';

/** What primaries say of themselves. */
export type Layout = {
  /** Who owns which slots, as text to compare; it changes with every move of a slot and with every failover. */
  readonly text: string;
  /** Whether any of them is giving or taking a slot right now. */
  readonly isChanging: boolean;
};

/** The text of a layout in which all is as the topology says. */
export function layoutOf({ nodes }: Topology): string {
  return nodes.map(({ id, ranges }) => describe(id, 'primary', formatSlots(ranges))).join('\n');
}

/**
 * Asks every primary for its own slots: of those it knows before all others.
 *
 *     line = id SP address SP flags SP primary SP ping SP pong SP epoch SP link *( SP slots ) LF
 *     slots = slot | first "-" last | "[" slot "->-" id "]" | "[" slot "-<-" id "]"      being moved there, from there
 *
 * Valkey 9 moves slots otherwise too, which its line does not show until they have moved: that is asked for by
 * CLUSTER GETSLOTMIGRATIONS. A server that does not know this, or a user who may not ask, is as if there were none.
 *
 * Source: CLUSTER NODES; the line of the node itself has the flag `myself`.
 *
 * @throws {side}-permission-denied, {side}-unreachable
 */
export async function readLayout(primaries: readonly RawConnection[]): Promise<Layout> {
  const states = await Promise.all(primaries.map(readOwnState));
  return {
    text: states.map(({ line }) => summarize(line)).join('\n'),
    isChanging: states.some(({ line, isMigrating }) => isMigrating || / \[\d+-/.test(line)),
  };
}

async function readOwnState(primary: RawConnection): Promise<{ line: string; isMigrating: boolean }> {
  const [reply, migrations] = await primary.send([
    ['CLUSTER', 'NODES'],
    ['CLUSTER', 'GETSLOTMIGRATIONS'],
  ]);
  const line = Buffer.isBuffer(reply) ? /^.* (?:\S+,)?myself[, ].*$/m.exec(reply.toString('latin1')) : null;
  if (line === null)
    throw toServerError(primary.access, 'reading CLUSTER NODES', reply ?? new Error('no reply'));
  return { line: line[0], isMigrating: Array.isArray(migrations) && migrations.some(isUnderWay) };
}

/** What a migration is once it is over; the states before have many names. */
const ENDED = new Set(['success', 'failed', 'cancelled', 'canceled']);

/** `name value name value …`, among them `state` and how it is. */
function isUnderWay(migration: unknown): boolean {
  if (!Array.isArray(migration)) return false;
  const fields = migration.map(String);
  return !ENDED.has(fields[fields.indexOf('state') + 1] ?? '');
}

function summarize(line: string): string {
  const [id = '', , flags = '', , , , , , ...slots] = line.split(' ');
  const owned = slots.filter((slot) => !slot.startsWith('['));
  return describe(id, flags.split(',').includes('master') ? 'primary' : 'replica', owned.join(','));
}

function describe(id: string, role: 'primary' | 'replica', slots: string): string {
  return `${id} ${role} ${slots}`;
}
