import { closeEvery } from '../redis/cluster/open-every.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import type { RawConnection } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { writerName } from '../redis/writers.ts';
import type { TargetFacts } from '../sync/servers.ts';
import type { Skips } from '../sync/skips.ts';
import type { Attention } from './attention.ts';
import { Copier, type SourceCapabilities } from './copier.ts';
import { Line } from './line.ts';
import type { ScanWorld } from './session.ts';
import { payloadMaker } from './source-payload.ts';

/** What a copier is told and whom it tells. */
export type CopierParts = {
  readonly facts: TargetFacts;
  readonly skips: Skips;
  readonly attention: Attention;
  readonly signal: AbortSignal;
};

/**
 * Opens a copier with connections of its own.
 *
 * @throws the codes of connections to both sides, or the signal's reason
 */
export async function openCopier(
  world: ScanWorld,
  parts: CopierParts,
): Promise<AsyncDisposable & { readonly copier: Copier }> {
  const { signal, facts, skips, attention } = parts;
  const opened: AsyncDisposable[] = [];
  try {
    const source = await openRoutedConnection(world.source, { signal });
    opened.push(source);
    const target = await openRoutedConnection(world.target, { signal });
    opened.push(target);
    // By this name a later sync ends what this one may still have on its way.
    await target.send([['CLIENT', 'SETNAME', writerName(world.holder.migrationId)]]);
    const { hasHashFieldTtls, dialect } = facts;
    const form = { hasHashFieldTtls, hashFieldTtl: world.hashFieldTtl, areExpiriesExact: true, dialect };
    const copier = new Copier({
      line: new Line({ source, target, limits: world.meter.limits }),
      source: world.source,
      target: world.target,
      capabilities: await readCapabilities(source),
      ...payloadMaker(form, skips, world.streams),
      hasHashFieldTtls,
      meter: world.meter,
      signal,
      onProgress: () => attention.wake(),
    });
    return { copier, [Symbol.asyncDispose]: () => closeEvery(opened) };
  } catch (error) {
    await closeEvery(opened);
    throw error;
  }
}

async function readCapabilities(source: RawConnection): Promise<SourceCapabilities> {
  const [, absoluteExpiry, memoryUsage, fieldExpiry] = await source.send([
    // Keeps our reads out of the LRU and LFU of the source; before Redis 7.2 there is no such thing.
    ['CLIENT', 'NO-TOUCH', 'ON'],
    ['PEXPIRETIME', RESERVED_KEY],
    ['MEMORY', 'USAGE', RESERVED_KEY],
    ['HPEXPIRETIME', RESERVED_KEY, 'FIELDS', 1, 'field'],
  ]);
  return {
    absoluteExpiry: isServed(absoluteExpiry),
    memoryUsage: isServed(memoryUsage),
    fieldExpiry: isServed(fieldExpiry),
  };
}

/** An error about the key itself is an answer as well. */
function isServed(reply: Reply | undefined): boolean {
  return !(reply instanceof ErrorReply && /^(ERR unknown|NOPERM)/i.test(reply.message));
}
