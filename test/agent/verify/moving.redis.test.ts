import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDataSet } from '../../servers/data-set.ts';
import { findServer, targetServer } from '../../servers/start.ts';
import { startLiveWriter } from './live-writer.ts';
import { differenceLines, startPair, type VerifyPair, verifyPair } from './verify-pair.ts';

/** How often the quiet truth is looked for under full-speed writes. */
const VERIFICATIONS = 3;

let pair: VerifyPair;

beforeAll(async () => {
  pair = await startPair(await findServer({ kind: 'redis', version: '7.0' }), await targetServer());
  const source = pair.source.client();
  await source.config('SET', 'repl-diskless-sync-delay', '0');
  await loadDataSet(source, { keys: 3000, seed: 11 });
  await source.call('XGROUP', 'CREATE', 'hot:stream', 'g', '0', 'MKSTREAM');
  await source.hset('hot:hash', 'still', 'here', 'moving', '0');
  const target = pair.target.client();
  await target.config('SET', 'replica-read-only', 'no');
  await target.call('REPLICAOF', pair.source.host, String(pair.source.port));
  while (!(await target.info('replication')).includes('master_link_status:up')) await target.ping();
});

afterAll(() => pair[Symbol.asyncDispose]());

describe('a native replica under full-speed writes', () => {
  it('is never found different', async () => {
    const writer = startLiveWriter(pair.source.client());
    await using _ = writer;
    for (let count = 0; count < VERIFICATIONS; count++) {
      const before = writer.commands;
      const report = await verifyPair(pair);
      expect(differenceLines(report), `verification ${count}`).toEqual([]);
      expect(report.passed).toBe(true);
      expect(writer.commands).toBeGreaterThan(before);
    }
  });

  it('is found different in keys that keep changing as in those that do not', async () => {
    const source = pair.source.client();
    const target = pair.target.client();
    await using _ = startLiveWriter(source);
    await target.hset('hot:hash', 'still', 'gone');
    await target.incrby('hot:counter', 1_000_000);
    await target.set('only:target', 'v');
    await source.set('lost', 'v', 'GET');
    const isAtTarget = async () => (await target.exists('lost')) === 1;
    while (!(await isAtTarget())) await source.ping();
    await target.del('lost');
    const lines = differenceLines(await verifyPair(pair));
    expect(lines.map((line) => line.replace(/: .*/, ''))).toEqual([
      '0 hot:counter string value',
      '0 hot:hash hash value',
      '0 lost string missing',
      '0 only:target string extra',
    ]);
    expect(lines[0]).toMatch(/^0 hot:counter string value: first difference at byte \d+; /);
    expect(lines[1]).toMatch(/^0 hot:hash hash value: field still: 4 bytes at the source, 4 at the target/);
  });
});
