import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

/** What the writers of a cutover write: each a share of the keys, one after the other, and a counter. */
export type WriterOrder = {
  readonly host: string;
  readonly port: number;
  readonly writers: number;
  readonly keysPerWriter: number;
  /** Of all writers together. */
  readonly writesPerSecond: number;
};

/** What the source has acknowledged. */
export type Written = {
  /** By writer: the last number that was acknowledged for each of its keys, 0 for none. */
  readonly acknowledged: Float64Array[];
  /** The last acknowledged value of each writer's counter. */
  readonly counts: Float64Array;
  writes: number;
  /** Each text once. */
  readonly refusals: string[];
  lastAcknowledgedAtMs: number;
  /** The longest that a batch waited for its answer. */
  latencyMaxMs: number;
};

/** Writes that are sent together: one key each, and the counter. */
export const BATCH_WRITES = 10;

/** The name of a writer's key. */
export const keyName = (writer: number, index: number) => `writer:${writer}:key:${index}`;
/** The name of a writer's counter. */
export const counterName = (writer: number) => `writer:${writer}:count`;
/** A fifth of the keys expires. */
export const isExpiring = (index: number) => index % 5 === 0;

/** Writers under way; `stop` returns what they have got. */
export type Writers = AsyncDisposable & { stop(): Promise<Written> };

/** Starts writers in a process of their own. */
export function startWriters(order: WriterOrder): Writers {
  const child = fork(path.join(import.meta.dirname, 'writer-process.ts'), [], { serialization: 'advanced' });
  child.send(order);
  const stop = async (): Promise<Written> => {
    const answer = once(child, 'message');
    child.send('stop');
    const ended = once(child, 'exit').then(([code]) =>
      Promise.reject(new Error(`the writers ended: ${code}`)),
    );
    ended.catch(() => {});
    const [written] = await Promise.race([answer, ended]);
    return written;
  };
  return {
    stop,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}
