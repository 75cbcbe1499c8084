import { type Command, openRawConnection } from '../../src/agent/redis/raw-connection.ts';
import { ErrorReply } from '../../src/agent/redis/reply-parser.ts';
import { systemClock } from '../../src/core/clock.ts';
import { BATCH_WRITES, counterName, isExpiring, keyName, type WriterOrder, type Written } from './writes.ts';

// A process of its own, so that the writers' work is not that of the test. Told what to write by the first message, it
// writes until it is told to stop by the second, and answers with what was acknowledged.

const EXPIRES_IN_S = 36_000;
/** Between two attempts of a writer that was refused. */
const REFUSED_PAUSE_MS = 20;

const stopping = new AbortController();
process.on('message', async (message: WriterOrder | 'stop') => {
  if (message === 'stop') return stopping.abort();
  const written = await writeAll(message);
  process.send?.(written, () => process.disconnect());
});

async function writeAll(order: WriterOrder): Promise<Written> {
  const written: Written = {
    acknowledged: Array.from({ length: order.writers }, () => new Float64Array(order.keysPerWriter)),
    counts: new Float64Array(order.writers),
    writes: 0,
    refusals: [],
    lastAcknowledgedAtMs: 0,
    latencyMaxMs: 0,
  };
  await Promise.all(Array.from({ length: order.writers }, (_, writer) => write(order, writer, written)));
  return written;
}

/** Writes at an even pace; what an answer did not come for is not acknowledged, and not written again. */
async function write(order: WriterOrder, writer: number, written: Written): Promise<void> {
  const { host, port, writers, keysPerWriter, writesPerSecond } = order;
  const access = {
    side: 'source',
    host,
    port,
    address: `${host}:${port}`,
    username: undefined,
    password: undefined,
    tls: undefined,
  } as const;
  await using connection = await openRawConnection(access, { signal: new AbortController().signal });
  const perMs = writesPerSecond / writers / 1000;
  const startedAtMs = performance.now();
  let [sent, number] = [0, 0];
  while (!stopping.signal.aborted) {
    const dueInMs = startedAtMs + sent / perMs - performance.now();
    if (dueInMs > 1) await pause(dueInMs);
    const numbers = Array.from({ length: BATCH_WRITES - 1 }, () => ++number);
    const batch: Command[] = numbers.map((value) => setCommand(writer, value, keysPerWriter));
    const sentAtMs = performance.now();
    const replies = await connection.send([...batch, ['INCR', counterName(writer)]]);
    written.latencyMaxMs = Math.max(written.latencyMaxMs, performance.now() - sentAtMs);
    sent += BATCH_WRITES;
    const refusal = replies.find((reply) => reply instanceof ErrorReply);
    if (refusal instanceof ErrorReply) {
      if (!written.refusals.includes(refusal.message)) written.refusals.push(refusal.message);
      await pause(REFUSED_PAUSE_MS);
    } else written.lastAcknowledgedAtMs = Date.now();
    numbers.forEach((value, index) => {
      if (replies[index] !== 'OK') return;
      written.writes += 1;
      const own = written.acknowledged[writer];
      if (own !== undefined) own[value % keysPerWriter] = value;
    });
    const count = replies.at(-1);
    if (typeof count === 'number') {
      written.writes += 1;
      written.counts[writer] = count;
    }
  }
}

function setCommand(writer: number, value: number, keysPerWriter: number): Command {
  const index = value % keysPerWriter;
  const set = ['SET', keyName(writer, index), String(value).padStart(64, '0')];
  return isExpiring(index) ? [...set, 'EX', EXPIRES_IN_S] : set;
}

const pause = (ms: number) =>
  systemClock.sleep(ms, stopping.signal).catch(() => {
    // Told to stop: the loop looks at it.
  });
