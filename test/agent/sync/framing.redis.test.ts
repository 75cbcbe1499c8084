import { describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { type RunningServer, startServer, targetServer } from '../../servers/start.ts';
import { type ScriptedSource, startScriptedSource } from './scripted-source.ts';
import { type SyncRun, type SyncRunOptions, startSync } from './sync-run.ts';

const MARK = Buffer.from('0123456789abcdef0123456789abcdef01234567');
const MARK_FRAME = Buffer.concat([Buffer.from('$EOF:'), MARK, Buffer.from('\r\n')]);
/** The mark as a whole value, in the middle of one, behind one, and as a key. */
const MARKED: readonly (readonly [string, string])[] = [
  ['whole', `${MARK}`],
  ['inside', `before ${MARK} behind`],
  ['cut', `${MARK}`.slice(0, 39)],
  [`${MARK}`, 'value'],
  ['last', `${MARK}${MARK}`],
];

describe('the RDB of a source', () => {
  it('ends where its content ends, however often the mark stands in the data', async () => {
    const rdb = rdbOf(MARKED);
    await using run = await startRun(() => [MARK_FRAME, rdb, MARK]);
    await expectCopied(run);
  });

  it('ends there too when what the copy takes is limited', async () => {
    const rdb = rdbOf(MARKED);
    await using run = await startRun(() => [MARK_FRAME, rdb, MARK], { sourceBytesPerSecondMax: 100_000 });
    await expectCopied(run);
  });

  it('may come byte by byte around its end', async () => {
    const rdb = rdbOf(MARKED);
    const [body, end] = [rdb.subarray(0, -20), rdb.subarray(-20)];
    await using run = await startRun(() => [MARK_FRAME, body, ...bytesOf(Buffer.concat([end, MARK]))]);
    await expectCopied(run);
  });

  it.each<{ name: string; transfer: (rdb: Buffer) => readonly Buffer[] }>([
    { name: 'a mark that is cut', transfer: (rdb) => [MARK_FRAME, rdb, MARK.subarray(0, 39), PING] },
    { name: 'another mark', transfer: (rdb) => [MARK_FRAME, rdb, Buffer.alloc(40, 'x')] },
    { name: 'no mark', transfer: (rdb) => [MARK_FRAME, rdb, PING, PING, PING] },
    { name: 'a length that is too short', transfer: (rdb) => [frame(rdb.length - 1), rdb, PING] },
    { name: 'a length that is too long', transfer: (rdb) => [frame(rdb.length + 1), rdb, PING] },
    { name: 'a length that is none', transfer: (rdb) => [Buffer.from('$-1\r\n'), rdb] },
  ])('is not taken with $name', async ({ transfer }) => {
    const rdb = rdbOf(MARKED);
    await using run = await startRun(() => transfer(rdb));
    await expect(run.sync.ended).rejects.toMatchObject({ code: 'source-protocol-error' });
    expect(await run.target.client().get('__valkey-migrate__')).not.toContain('"live"');
  });
});

describe('a source that falls silent with its connection open', () => {
  const rdb = rdbOf(MARKED);
  const silences: readonly { name: string; transfer: readonly Buffer[] }[] = [
    { name: 'before it says how the RDB is framed', transfer: [] },
    { name: 'in the middle of its RDB', transfer: [MARK_FRAME, rdb.subarray(0, 100)] },
    { name: 'within the mark', transfer: [MARK_FRAME, rdb, MARK.subarray(0, 39)] },
  ];

  it.each(silences)('$name is asked anew', async ({ transfer }) => {
    const whole = [MARK_FRAME, rdb, MARK];
    await using run = await startRun((attempt) => (attempt === 1 ? transfer : whole), { clock: fastClock() });
    await run.sync.until(({ stage }) => stage === 'live' || stage === 'catching-up');
    expect(run.sync.log.join()).toContain('timed out after 60000 ms of silence');
    for (const [key, value] of MARKED) expect(await run.target.client().get(key)).toBe(value);
  });

  it.each(silences)('$name each time is given up', async ({ transfer }) => {
    await using run = await startRun(() => transfer, { clock: fastClock() });
    await expect(run.sync.ended).rejects.toMatchObject({
      code: 'sync-lost',
      message: expect.stringContaining('60000 ms of silence'),
    });
  });
});

const PING = Buffer.from('*1\r\n$4\r\nPING\r\n');
/** So many times faster than the clock of the machine. */
const HASTE = 100;

function fastClock(): Clock {
  const startMs = systemClock.nowMs();
  return {
    nowMs: () => startMs + (systemClock.nowMs() - startMs) * HASTE,
    sleep: (durationMs, signal) => systemClock.sleep(durationMs / HASTE, signal),
  };
}

/** `REDIS0011 SELECTDB 0 (STRING key value)* EOF checksum`, the checksum 0 for none. */
function rdbOf(strings: readonly (readonly [string, string])[]): Buffer {
  const parts: Buffer[] = [Buffer.from('REDIS0011'), Buffer.of(0xfe, 0)];
  for (const [key, value] of strings) parts.push(Buffer.of(0), rdbString(key), rdbString(value));
  return Buffer.concat([...parts, Buffer.of(0xff), Buffer.alloc(8)]);
}

/** A length of 14 bits before it. */
function rdbString(text: string): Buffer {
  return Buffer.concat([Buffer.of(0x40 | (text.length >> 8), text.length & 0xff), Buffer.from(text)]);
}

function frame(length: number): Buffer {
  return Buffer.from(`$${length}\r\n`);
}

function bytesOf(bytes: Buffer): Buffer[] {
  return Array.from(bytes, (byte) => Buffer.of(byte));
}

type Run = AsyncDisposable & { source: ScriptedSource; target: RunningServer; sync: SyncRun };

async function startRun(
  transfer: (attempt: number) => readonly Buffer[],
  options: Pick<SyncRunOptions, 'clock' | 'sourceBytesPerSecondMax'> = {},
): Promise<Run> {
  await using stack = new AsyncDisposableStack();
  const source = stack.use(await startScriptedSource(Buffer.alloc(0), { transfer }));
  const target = stack.use(await startServer({ server: await targetServer() }));
  const place = { ...source, client: () => target.client() };
  const sync = stack.use(await startSync({ source: place, target, ...options }));
  const owned = stack.move();
  return { source, target, sync, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** What follows the RDB arrives, and nothing of the mark with it. */
async function expectCopied({ source, target, sync }: Run): Promise<void> {
  await sync.until(({ stage }) => stage === 'live' || stage === 'catching-up');
  source.send([['SET', 'streamed', '1']]);
  await expect.poll(() => target.client().get('streamed')).toBe('1');
  for (const [key, value] of MARKED) expect(await target.client().get(key)).toBe(value);
  const report = await sync.stop();
  expect(report).toMatchObject({ copiedKeys: MARKED.length, reconnects: 0 });
}
