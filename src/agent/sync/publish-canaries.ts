import { errorText, isMigrationError } from '../../core/errors.ts';
import { type Client, openClient } from '../redis/client.ts';
import { CANARY_CHANNEL } from './canaries.ts';
import type { SourceOffsetOptions } from './source-offset.ts';

const CANARY_MS = 1_000;
/** After a lost connection; the sync itself goes on without canaries. */
const RETRY_MS = 15_000;

/**
 * Sends a canary to the source every second while there is a stream, until the signal is aborted.
 *
 * It needs no key and leaves nothing. It has a connection of its own, because a PUBLISH is held back while the source
 * pauses its writers for a fence; the next one is sent only when the one before is answered. Where the source refuses
 * it, the lag is told by when bytes arrived at this host, and a note says so.
 */
export async function publishCanaries(options: SourceOffsetOptions): Promise<void> {
  const { locate, meter, clock, log, signal } = options;
  while (!signal.aborted) {
    try {
      await using client = await openClient(await locate());
      const disconnect = () => client.redis.disconnect();
      signal.addEventListener('abort', disconnect, { once: true });
      await publish(client, options).finally(() => signal.removeEventListener('abort', disconnect));
    } catch (error) {
      if (signal.aborted) return;
      if (isRefusal(error)) {
        meter.note(
          'the lag in time is counted from the arrival at the host: the source refuses PUBLISH or INFO',
        );
        log(`the source refuses canaries: ${errorText(error)}`);
        return;
      }
    }
    await clock.sleep(RETRY_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
  }
}

async function publish(client: Client, { meter, clock, signal }: SourceOffsetOptions): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const isStreaming = ['copying', 'catching-up', 'live'].includes(meter.stage);
    // A replica does not pass on what is published at it: its own stream is that of its master.
    if (isStreaming && (await isMaster(client))) {
      const { text, sentAtMs } = meter.canaries.message();
      await client.call('PUBLISH', CANARY_CHANNEL, text);
      meter.canaries.expect(sentAtMs);
    }
    await clock.sleep(CANARY_MS, signal);
  }
}

async function isMaster(client: Client): Promise<boolean> {
  return /^role:master/m.test((await client.callText('INFO', 'replication')) ?? '');
}

function isRefusal(error: unknown): boolean {
  return isMigrationError(error) && /-(permission-denied|protocol-error)$/.test(error.code);
}
