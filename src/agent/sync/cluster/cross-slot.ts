import { MigrationError } from '../../../core/errors.ts';
import type { Client } from '../../redis/client.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import type { Command } from '../../redis/raw-connection.ts';
import { temporaryKey } from '../../redis/reserved-key.ts';
import { type Arguments, optionAt } from './command-keys.ts';

/*
 * A command whose keys lie in several slots is carried out in one of two ways:
 *
 *   split    DEL a b            each slot gets its share, which needs nothing of the others
 *   joined   SUNIONSTORE d a b  the destination gets what it needs of the foreign keys, read from the target itself when
 *                               it stands right before this command; then what the command takes away elsewhere goes
 */

/** A share of a command that one slot gets. */
export type Share = { readonly slot: number; readonly command: Command };

/** A command of which the destination needs what other slots hold. */
export type Join = {
  readonly slot: number;
  /** The slots whose keys are read. */
  readonly readSlots: readonly number[];
  /** What the destination gets, made of what the other slots hold now. */
  prepare(clientOf: (slot: number) => Client): Promise<readonly Command[]>;
  /** What goes elsewhere when the destination has it. */
  readonly removals: readonly Share[];
};

/** How a command is carried out over slots. */
export type Plan =
  | { readonly kind: 'split'; readonly shares: readonly Share[] }
  | ({ readonly kind: 'join' } & Join);

/** `mayLackKeys`: the source may hold keys of modules, which the target does not have. */
type Planning = { readonly mayLackKeys: boolean };
type Planner = (args: Arguments, keys: readonly number[], planning: Planning) => Plan;

/**
 * Plans a command whose keys, the arguments at `keys`, lie in several slots.
 *
 * @throws target-refused-command for one that cannot be carried out on a cluster
 */
export function planAcrossSlots(
  name: string,
  args: Arguments,
  { keys, ...planning }: Planning & { keys: readonly number[] },
): Plan {
  const planner = PLANNERS.get(name);
  if (planner === undefined) throw refuseOnCluster(name);
  return planner(args, keys, planning);
}

/** Stops at a command that a cluster cannot carry out. */
export function refuseOnCluster(name: string, because = 'its keys lie in several slots'): MigrationError {
  return new MigrationError(
    'target-refused-command',
    `The source sent ${name.slice(0, 40)}, which the target cannot carry out in cluster mode: ${because}. It was not applied, nor was anything after it.`,
    {
      remedy:
        'Choose a target with cluster mode disabled, or keep the command from being used at the source.',
    },
  );
}

/**
 * Stops at options that reach beyond the keys of a command, which a cluster refuses.
 *
 * @throws target-refused-command
 */
export function refuseForeignOptions(name: string, args: Arguments): void {
  if (name === 'COPY') {
    const dbAt = args.findIndex((_, index) => index > 2 && optionAt(args, index) === 'DB');
    if (dbAt !== -1 && args[dbAt + 1]?.toString('latin1') !== '0') {
      throw refuseOnCluster(name, 'it is about another database');
    }
  }
  if (name !== 'SORT') return;
  for (let index = 2; index + 1 < args.length; index++) {
    const option = optionAt(args, index);
    const pattern = args[index + 1]?.toString('latin1') ?? '';
    if (option === 'STORE') index += 1;
    if (option === 'LIMIT') index += 2;
    if (option !== 'BY' && option !== 'GET') continue;
    index += 1;
    if (option === 'BY' ? pattern.includes('*') : pattern !== '#') {
      throw refuseOnCluster(name, `its option ${option} reads keys that are not named`);
    }
  }
}

const PLANNERS: ReadonlyMap<string, Planner> = new Map<string, Planner>([
  ['DEL', splitKeys],
  ['UNLINK', splitKeys],
  ['MSET', (args) => splitPairs('MSET', args)],
  // The source sends it only when it has set all of them.
  ['MSETNX', (args) => splitPairs('MSET', args)],
  ['MSETEX', splitCountedPairs],
  ['SMOVE', moveMember],
  ['RENAME', rename],
  ['RENAMENX', rename],
  ['COPY', copy],
  ['RPOPLPUSH', (args) => moveElement(args, { from: 'RIGHT', to: 'LEFT' })],
  ['BRPOPLPUSH', (args) => moveElement(args, { from: 'RIGHT', to: 'LEFT' })],
  ['LMOVE', moveElementBetween],
  ['BLMOVE', moveElementBetween],
  ...['SUNIONSTORE', 'SINTERSTORE', 'SDIFFSTORE', 'ZUNIONSTORE', 'ZINTERSTORE', 'ZDIFFSTORE'].map(toFirstKey),
  ...['ZRANGESTORE', 'GEOSEARCHSTORE', 'PFMERGE', 'BITOP'].map(toFirstKey),
  ...['SORT', 'GEORADIUS', 'GEORADIUSBYMEMBER'].map(toLastKey),
]);

function toFirstKey(name: string): [string, Planner] {
  return [name, (args, keys) => storeWithForeignKeys(args, keys, keys[0] ?? 1)];
}

function toLastKey(name: string): [string, Planner] {
  return [name, (args, keys) => storeWithForeignKeys(args, keys, keys.at(-1) ?? 1)];
}

/** `DEL key*` */
function splitKeys(args: Arguments, keys: readonly number[]): Plan {
  const [name] = args;
  return split(keys, (indexes) => [name ?? '', ...indexes.map((index) => argument(args, index))], args);
}

/** `MSET (key value)*` */
function splitPairs(name: string, args: Arguments): Plan {
  const keys = args.flatMap((_, index) => (index % 2 === 1 ? [index] : []));
  return split(
    keys,
    (indexes) => [name, ...indexes.flatMap((index) => [argument(args, index), argument(args, index + 1)])],
    args,
  );
}

/** `MSETEX number (key value)* [option]*` */
function splitCountedPairs(args: Arguments, keys: readonly number[]): Plan {
  const options = args.slice(2 + 2 * keys.length);
  return split(
    keys,
    (indexes) => [
      'MSETEX',
      indexes.length,
      ...indexes.flatMap((index) => [argument(args, index), argument(args, index + 1)]),
      ...options,
    ],
    args,
  );
}

function split(
  keys: readonly number[],
  make: (indexes: readonly number[]) => Command,
  args: Arguments,
): Plan {
  const bySlot = new Map<number, number[]>();
  for (const index of keys) {
    const slot = slotAt(args, index);
    const indexes = bySlot.get(slot);
    if (indexes === undefined) bySlot.set(slot, [index]);
    else indexes.push(index);
  }
  return { kind: 'split', shares: [...bySlot].map(([slot, indexes]) => ({ slot, command: make(indexes) })) };
}

/** `SMOVE source destination member`, which the source sends only when it has moved it: neither side needs the other. */
function moveMember(args: Arguments): Plan {
  const [source, destination, member] = [argument(args, 1), argument(args, 2), argument(args, 3)];
  return {
    kind: 'split',
    shares: [
      { slot: slotAt(args, 2), command: ['SADD', destination, member] },
      { slot: slotAt(args, 1), command: ['SREM', source, member] },
    ],
  };
}

/** `RENAME source destination` */
function rename(args: Arguments, _keys: readonly number[], planning: Planning): Plan {
  const [source, destination] = [argument(args, 1), argument(args, 2)];
  return {
    kind: 'join',
    ...carryOver({ name: 'RENAME', source, destination, ...planning }),
    removals: [{ slot: slotOf(source), command: ['DEL', source] }],
  };
}

/** `COPY source destination [DB number] [REPLACE]` */
function copy(args: Arguments, _keys: readonly number[], planning: Planning): Plan {
  const [source, destination] = [argument(args, 1), argument(args, 2)];
  return { kind: 'join', ...carryOver({ name: 'COPY', source, destination, ...planning }), removals: [] };
}

type Carry = Planning & { readonly name: string; readonly source: Buffer; readonly destination: Buffer };

/** A whole value with its expiry, which is padded as everything on the target. */
function carryOver({ name, source, destination, mayLackKeys }: Carry): Omit<Join, 'removals'> {
  const sourceSlot = slotOf(source);
  return {
    slot: slotOf(destination),
    readSlots: [sourceSlot],
    prepare: async (clientOf) => {
      const client = clientOf(sourceSlot);
      const [payload, expiresAtMs] = await Promise.all([
        client.call('DUMP', source),
        client.call('PEXPIRETIME', source),
      ]);
      // What took its place at the source is a key of a module, which the target does not have either.
      if (!Buffer.isBuffer(payload) && mayLackKeys) return [['UNLINK', destination]];
      if (!Buffer.isBuffer(payload)) throw missingKey(name);
      const expiry = Number(expiresAtMs) < 0 ? '0' : String(expiresAtMs);
      return [['RESTORE', destination, expiry, payload, 'REPLACE', 'ABSTTL']];
    },
  };
}

type End = 'LEFT' | 'RIGHT';

/** `LMOVE source destination LEFT|RIGHT LEFT|RIGHT` */
function moveElementBetween(args: Arguments): Plan {
  const endAt = (index: number): End => (optionAt(args, index) === 'LEFT' ? 'LEFT' : 'RIGHT');
  return moveElement(args, { from: endAt(3), to: endAt(4) });
}

function moveElement(args: Arguments, { from, to }: { from: End; to: End }): Plan {
  const [source, destination] = [argument(args, 1), argument(args, 2)];
  const sourceSlot = slotOf(source);
  return {
    kind: 'join',
    slot: slotOf(destination),
    readSlots: [sourceSlot],
    prepare: async (clientOf) => {
      const element = await clientOf(sourceSlot).call('LINDEX', source, from === 'LEFT' ? 0 : -1);
      if (!Buffer.isBuffer(element)) throw missingKey('LMOVE');
      return [[to === 'LEFT' ? 'LPUSH' : 'RPUSH', destination, element]];
    },
    removals: [{ slot: sourceSlot, command: [from === 'LEFT' ? 'LPOP' : 'RPOP', source] }],
  };
}

/**
 * A command that stores what it makes of its keys: the foreign ones are put beside the destination under names of ours,
 * for as long as it takes.
 */
function storeWithForeignKeys(args: Arguments, keys: readonly number[], destinationAt: number): Plan {
  const slot = slotAt(args, destinationAt);
  const foreign = new Map<string, { key: Buffer; slot: number; temporary: Buffer }>();
  const replaced: (Buffer | string)[] = [...args];
  for (const index of keys) {
    const key = argument(args, index);
    const keySlotNumber = slotOf(key);
    if (keySlotNumber === slot) continue;
    const name = key.toString('latin1');
    const known = foreign.get(name) ?? {
      key,
      slot: keySlotNumber,
      temporary: temporaryKey(slot, foreign.size),
    };
    foreign.set(name, known);
    replaced[index] = known.temporary;
  }
  return {
    kind: 'join',
    slot,
    readSlots: [...new Set([...foreign.values()].map((value) => value.slot))],
    prepare: async (clientOf) => {
      const values = await Promise.all(
        [...foreign.values()].map(async (value) => ({
          temporary: value.temporary,
          payload: await clientOf(value.slot).call('DUMP', value.key),
        })),
      );
      const restores = values.flatMap(({ temporary, payload }) =>
        Buffer.isBuffer(payload) ? [['RESTORE', temporary, 0, payload, 'REPLACE'] as const] : [],
      );
      const removals = restores.map(([, temporary]) => ['DEL', temporary] as const);
      return [...restores, replaced, ...removals];
    },
    removals: [],
  };
}

/** A key that the source had is not there: what the target holds is not what the source held. */
function missingKey(name: string): MigrationError {
  return new MigrationError(
    'target-refused-command',
    `The target lacks a key that ${name} has moved at the source.`,
    { remedy: 'Nothing else may write to the target. Run start-migration again: it reconciles the target.' },
  );
}

function argument(args: Arguments, index: number): Buffer {
  return args[index] ?? Buffer.alloc(0);
}

function slotAt(args: Arguments, index: number): number {
  return slotOf(argument(args, index));
}

function slotOf(key: Buffer): number {
  return keySlot(key, 0, key.length);
}
