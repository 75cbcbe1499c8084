import { formatAddress } from '../../../contract/endpoint.ts';
import { MigrationError } from '../../../core/errors.ts';
import type { Access } from '../access.ts';
import { openClient } from '../client.ts';
import {
  type Command,
  openRawConnection,
  type RawConnection,
  type RawConnectionOptions,
} from '../raw-connection.ts';
import { encodeReplies, type ReplyBytes } from '../reply-bytes.ts';
import { createReplyParser, type Reply } from '../reply-parser.ts';
import { type CommandRoute, continueScan, isScanEnd, routeOf, sumOf } from './command-route.ts';
import { layoutOf, readLayout } from './layout.ts';
import { closeEvery, openEvery } from './open-every.ts';
import { isRedirection, type Redirection, readRedirection } from './redirection.ts';
import { keySlot, SLOT_COUNT } from './slots.ts';
import { NODES_MAX, readTopology } from './topology.ts';

/**
 * A connection to whatever an access leads to: a standalone server, or all primaries of a cluster as if they were one.
 *
 * `send` of a cluster takes commands of one key, EXISTS, SCAN, TIME, SELECT and those without keys; a batch is split by
 * the owners of its keys and answered in its order. Redirections are followed. A SCAN goes over one primary after the
 * other; it throws {side}-slots-moved where keys may change places behind it.
 */
export type RoutedConnection = RawConnection & {
  /** One for each primary, in the order of their slots; of a standalone server the connection itself. */
  readonly primaries: readonly RawConnection[];
  /** Which primary owns which slots, as text to compare; empty for a standalone server. */
  readonly layout: string;
  /** Which primary owns which of these, by the key of each. */
  byOwner<Item>(items: readonly Item[], keyOf: (item: Item) => Buffer): ReadonlyMap<RawConnection, Item[]>;
};

/**
 * Connects to a server or, where it is a node of a cluster, to all primaries of the cluster.
 *
 * @throws the codes of {@link openRawConnection} and {@link readTopology}
 */
export async function openRoutedConnection(
  access: Access,
  options: RawConnectionOptions,
): Promise<RoutedConnection> {
  const first = await openRawConnection(access, options);
  try {
    const [info] = await first.send([['INFO', 'cluster']]);
    if (!/^cluster_enabled:1/m.test(String(info))) {
      const byOwner = <Item>(items: readonly Item[]) => new Map([[first, [...items]]]);
      return { ...first, primaries: [first], layout: '', byOwner };
    }
    const connection = await openCluster(access, options);
    await first[Symbol.asyncDispose]();
    return connection;
  } catch (error) {
    await first[Symbol.asyncDispose]();
    throw error;
  }
}

async function openCluster(access: Access, options: RawConnectionOptions): Promise<RoutedConnection> {
  await using client = await openClient(access);
  const topology = await readTopology(client);
  const owners = Array.from({ length: SLOT_COUNT }, (_, slot) => topology.nodeOf(slot).index);
  const layout = layoutOf(topology);
  const primaries = await openEvery(topology, (node) => openRawConnection(node, options));
  const connection = new ClusterConnection({ access, primaries, owners, layout, ...options });
  try {
    await connection.assertAgreed();
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

/** How often a command is sent on before its redirection is the answer. */
const REDIRECTIONS_MAX = 5;
/** How many connections there are at most, with those to which redirections lead. */
const CONNECTIONS_MAX = 2 * NODES_MAX;

/** A command, or one of those that it is split into, on its way to the primary that owns its slot. */
type Part = {
  readonly node: RawConnection;
  readonly command: Command;
  readonly slot?: number;
  /** The database that the command is meant for. */
  readonly db: number;
  reply: Reply;
};

/** What a command of a batch came to be: its parts, and how their replies are put together. */
type Plan = { readonly parts: readonly Part[]; answer(replies: readonly Reply[]): Reply };

class ClusterConnection implements RoutedConnection {
  readonly access: Access;
  readonly primaries: readonly RawConnection[];
  readonly layout: string;
  /** The place of its owner among the nodes, by slot; redirections change it. */
  readonly #owners: number[];
  /** The primaries, then the nodes to which redirections have led. */
  readonly #nodes: RawConnection[];
  readonly #opening = new Map<string, Promise<RawConnection>>();
  readonly #signal: AbortSignal;
  #db: number;

  constructor(
    given: Pick<RoutedConnection, 'access' | 'primaries' | 'layout'> &
      RawConnectionOptions & { owners: number[] },
  ) {
    this.access = given.access;
    this.primaries = given.primaries;
    this.layout = given.layout;
    this.#nodes = [...given.primaries];
    this.#owners = given.owners;
    this.#signal = given.signal;
    this.#db = given.db ?? 0;
  }

  async send(batch: readonly Command[]): Promise<readonly Reply[]> {
    let isFirstTime = true;
    const plans = batch.map((command) => {
      const plan = this.#plan(command, routeOf(command, isFirstTime));
      if (command[0] === 'TIME') isFirstTime = false;
      return plan;
    });
    // Before anything is waited for: batches are answered in the order in which they were sent.
    const exchanged = this.#exchange(plans.flatMap(({ parts }) => parts));
    await Promise.all([exchanged, batch.some(isScanStart) ? this.#assertUnmoved() : undefined]);
    const replies = plans.map(({ parts, answer }) => answer(parts.map(({ reply }) => reply)));
    if (batch.some((command, index) => isScanEnd(command, replies[index]))) await this.#assertUnmoved();
    return replies;
  }

  /** The commands go to the owners of their keys, so they are taken apart and their replies put together. */
  async exchange(commands: Buffer, into: ReplyBytes): Promise<void> {
    const batch: Command[] = [];
    createReplyParser((command) => batch.push(toCommand(command))).push(commands);
    into.take(encodeReplies(await this.send(batch)), 0);
  }

  byOwner<Item>(items: readonly Item[], keyOf: (item: Item) => Buffer): ReadonlyMap<RawConnection, Item[]> {
    const owned = new Map<RawConnection, Item[]>();
    for (const item of items) {
      const key = keyOf(item);
      const node = this.#node(this.#owners[keySlot(key, 0, key.length)]);
      const group = owned.get(node);
      if (group === undefined) owned.set(node, [item]);
      else group.push(item);
    }
    return owned;
  }

  bytesRead(): number {
    return this.#nodes.reduce((sum, node) => sum + node.bytesRead(), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#opening.values());
    await closeEvery(this.#nodes);
  }

  /** Makes sure that the primaries see themselves as the topology does: who was asked for it may be behind. */
  async assertAgreed(): Promise<void> {
    if ((await readLayout(this.primaries)).text === this.layout) return;
    throw new MigrationError(
      `${this.access.side}-not-ready`,
      `The nodes of the cluster of the ${this.access.side} ${this.access.address} do not agree on who owns which slots.`,
    );
  }

  #plan(command: Command, route: CommandRoute): Plan {
    if (command[0] === 'SELECT') this.#db = Number(command[1]);
    const db = this.#db;
    const partFor = (node: RawConnection, sent = command): Part => ({ node, command: sent, db, reply: null });
    const partOfKey = (key: Buffer, sent = command): Part => {
      const slot = keySlot(key, 0, key.length);
      return { ...partFor(this.#node(this.#owners[slot]), sent), slot };
    };
    switch (route.to) {
      case 'owner':
        return { parts: [partOfKey(route.key)], answer: firstOf };
      case 'owners':
        return { parts: route.keys.map((key) => partOfKey(key, [route.name, key])), answer: sumOf };
      case 'every':
        return { parts: this.#nodes.map((node) => partFor(node)), answer: route.merge };
      case 'any':
        return { parts: [partFor(this.#node(0))], answer: firstOf };
      case 'scan': {
        const { primary, command: sent } = route;
        const answer: Plan['answer'] = (replies) =>
          continueScan(firstOf(replies), primary, this.primaries.length);
        return { parts: [partFor(this.#node(primary), sent)], answer };
      }
    }
  }

  #node(index: number | undefined): RawConnection {
    const node = this.#nodes[index ?? -1];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }

  async #exchange(parts: readonly Part[]): Promise<void> {
    const byNode = new Map<RawConnection, Part[]>();
    for (const part of parts) {
      const group = byNode.get(part.node);
      if (group === undefined) byNode.set(part.node, [part]);
      else group.push(part);
    }
    const sent = Array.from(byNode, async ([node, group]) => {
      const replies = await node.send(group.map(({ command }) => command));
      group.forEach((part, index) => {
        part.reply = replies[index] ?? null;
      });
    });
    await Promise.all(sent);
    const redirected = parts.filter(({ reply }) => isRedirection(reply));
    await Promise.all(redirected.map((part) => this.#follow(part)));
  }

  /** Sends a command on to where its reply says, and remembers who owns its slot now. */
  async #follow(part: Part): Promise<void> {
    let { node } = part;
    for (let count = 0; count < REDIRECTIONS_MAX; count++) {
      const redirection = readRedirection(part.reply, node.access);
      if (redirection === undefined) return;
      node = await this.#connect(redirection);
      const isMoved = redirection.kind === 'moved';
      if (isMoved && part.slot !== undefined) this.#owners[part.slot] = this.#nodes.indexOf(node);
      // The connection may have been in another database, and belongs to other batches as well.
      const asking: Command[] = isMoved ? [] : [['ASKING']];
      const batch: Command[] = [['SELECT', part.db], ...asking, part.command, ['SELECT', this.#db]];
      part.reply = (await node.send(batch)).at(-2) ?? null;
    }
  }

  async #connect({ host, port }: Redirection): Promise<RawConnection> {
    const address = formatAddress({ host, port });
    const known = this.#nodes.find(({ access }) => access.address === address);
    if (known !== undefined) return known;
    // Many commands are redirected to the same new node at once: they share its connection.
    const opening = this.#opening.get(address) ?? this.#open({ ...this.access, host, port, address });
    this.#opening.set(address, opening);
    return opening.finally(() => this.#opening.delete(address));
  }

  async #open(access: Access): Promise<RawConnection> {
    if (this.#nodes.length >= CONNECTIONS_MAX) {
      throw new MigrationError(
        `${access.side}-not-ready`,
        `The cluster of the ${access.side} ${this.access.address} sends commands on to ever more nodes.`,
      );
    }
    const connection = await openRawConnection(access, { signal: this.#signal });
    this.#nodes.push(connection);
    return connection;
  }

  async #assertUnmoved(): Promise<void> {
    const now = await readLayout(this.primaries);
    if (now.text === this.layout && !now.isChanging) return;
    throw new MigrationError(
      `${this.access.side}-slots-moved`,
      `Slots of the cluster of the ${this.access.side} ${this.access.address} are being moved, or were, while all its keys were gone over.`,
    );
  }
}

function isScanStart([name, cursor]: Command): boolean {
  return name === 'SCAN' && String(cursor) === '0';
}

function toCommand(parsed: Reply): Command {
  if (!Array.isArray(parsed)) throw new Error('a command is no array');
  return parsed.map((part, index) => (Buffer.isBuffer(part) && index > 0 ? part : String(part)));
}

function firstOf(replies: readonly Reply[]): Reply {
  return replies[0] ?? null;
}
