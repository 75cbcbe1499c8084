import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import type { Meter } from './meter.ts';

const POLL_MS = 1_000;
/** After a refusal or a lost connection; the sync itself goes on without the number. */
const RETRY_MS = 15_000;

/** What is needed to follow the offset of the source. */
export type SourceOffsetOptions = {
  /** Where the source is, which may be elsewhere after a failover. */
  readonly locate: () => Promise<Access>;
  readonly meter: Meter;
  readonly clock: Clock;
  readonly log: (message: string) => void;
  readonly signal: AbortSignal;
};

/**
 * Asks the source every second how far it is, until the signal is aborted.
 *
 * On the connection of the stream alone, bytes that the source still holds back would not count as lag.
 */
export async function followSourceOffset(options: SourceOffsetOptions): Promise<void> {
  const { locate, clock, log, signal } = options;
  let isTold = false;
  while (!signal.aborted) {
    try {
      await using client = await openClient(await locate());
      await poll(client, options);
    } catch (error) {
      if (signal.aborted) return;
      if (!isTold)
        log(`the lag is estimated, because the source does not say how far it is: ${errorText(error)}`);
      isTold = true;
    }
    await clock.sleep(RETRY_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
  }
}

async function poll(client: Client, { meter, clock, signal }: SourceOffsetOptions): Promise<void> {
  for (;;) {
    const info = (await client.callText('INFO', 'replication')) ?? '';
    const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
    if (Number.isSafeInteger(offset)) meter.sourceOffset = Math.max(meter.sourceOffset, offset);
    await clock.sleep(POLL_MS, signal);
  }
}
