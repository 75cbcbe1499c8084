import { formatBytes, formatDuration } from '../../../core/units.ts';
import { pass, type Ruling, warn } from '../ruling.ts';
import { numberField } from '../server-facts.ts';
import type { OutputBufferLimit, SourceFacts } from '../source-facts.ts';

/** What a copy reaches at least, for the estimate of how long the source has to buffer writes. */
const COPY_BYTES_PER_SECOND = 50 * 1024 * 1024;
/** How long a lost connection should be bridged by the backlog, so that no new full copy is needed. */
const BACKLOG_SECONDS = 60;
const SMALLEST_ADVISED_BYTES = 64 * 1024 * 1024;

/** Whether the source holds its writes long enough for a copy, and for a lost connection. */
export const REPLICATION_RULES: readonly ((source: SourceFacts) => Ruling)[] = [
  judgeOutputBuffer,
  judgeBacklog,
];

function judgeOutputBuffer(source: SourceFacts): Ruling {
  const title = 'Replica output buffer of the source';
  const limit = source.outputBuffer;
  const copySeconds = source.server.usedMemoryBytes / COPY_BYTES_PER_SECOND;
  const expectedBytes = source.writeBytesPerSecond * copySeconds;
  const expected = `A copy of ${formatBytes(source.server.usedMemoryBytes)} may take ${formatDuration(copySeconds * 1000)}, in which ${formatBytes(expectedBytes)} of writes come up (${formatBytes(source.writeBytesPerSecond)}/s)`;
  if (limit === undefined) {
    return warn('output-buffer-unknown', {
      title,
      detail: `The limit could not be read. ${expected}.`,
      remedy: `Make sure that client-output-buffer-limit replica allows ${formatBytes(2 * expectedBytes)}.`,
    });
  }
  const detail = `${expected}; the limit is ${describeLimit(limit)}.`;
  if (!isExceeded(limit, 2 * expectedBytes, copySeconds)) return pass('output-buffer', { title, detail });
  const advisedBytes = roundUp(4 * expectedBytes);
  return warn('output-buffer-small', {
    title,
    detail,
    remedy: `CONFIG SET client-output-buffer-limit "replica ${advisedBytes} ${advisedBytes} 0"`,
  });
}

function judgeBacklog(source: SourceFacts): Ruling {
  const title = 'Replication backlog of the source';
  const backlogBytes = numberField(source.info, 'repl_backlog_size');
  const neededBytes = source.writeBytesPerSecond * BACKLOG_SECONDS;
  const detail = `${formatBytes(backlogBytes)}, with ${formatBytes(source.writeBytesPerSecond)}/s of writes.`;
  if (backlogBytes >= neededBytes) return pass('backlog', { title, detail });
  return warn('backlog-small', {
    title,
    detail: `${detail} A connection that is lost for ${formatDuration((1000 * backlogBytes) / source.writeBytesPerSecond)} costs a new full copy.`,
    remedy: `CONFIG SET repl-backlog-size ${roundUp(2 * neededBytes)}`,
  });
}

function isExceeded(
  { hardBytes, softBytes, softSeconds }: OutputBufferLimit,
  bytes: number,
  seconds: number,
): boolean {
  return (
    (hardBytes > 0 && bytes > hardBytes) || (softBytes > 0 && bytes > softBytes && seconds > softSeconds)
  );
}

function describeLimit({ hardBytes, softBytes, softSeconds }: OutputBufferLimit): string {
  const hard = hardBytes === 0 ? 'no hard limit' : `${formatBytes(hardBytes)} hard`;
  const soft = softBytes === 0 ? 'no soft limit' : `${formatBytes(softBytes)} for ${softSeconds} s`;
  return `${hard}, ${soft}`;
}

/** The next power of two, which is easier to read than a computed number. */
function roundUp(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(bytes, SMALLEST_ADVISED_BYTES)));
}
