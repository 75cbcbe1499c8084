import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VerifyOptions } from '../../../src/agent/verify/run.ts';
import { Secret } from '../../../src/core/secret.ts';
import { startTcpProxy } from '../../faults/tcp-proxy.ts';
import { type RunningServer, sourceServer, targetServer } from '../../servers/start.ts';
import {
  accessTo,
  differenceLines,
  startPair,
  type VerifyPair,
  verifyPair,
  verifyStill,
} from './verify-pair.ts';

const KEYS = 6000;
let pair: VerifyPair;

beforeAll(async () => {
  pair = await startPair(await sourceServer(), await targetServer());
  await fill(pair.source);
  await fill(pair.target);
});

afterAll(() => pair[Symbol.asyncDispose]());

async function fill(server: RunningServer): Promise<void> {
  const pipeline = server.client().pipeline();
  for (let key = 0; key < KEYS; key++) pipeline.hset(`key:${key}`, 'field', `value ${key}`);
  await pipeline.exec();
  await server.client(1).set('other', 'v');
}

/** Does something once, when the scan of the source is under way. */
function amidst(work: () => Promise<unknown>): Partial<VerifyOptions> & { done(): Promise<unknown> } {
  let doing: Promise<unknown> | undefined;
  return {
    report: ({ stage }) => {
      if (stage === 'scanning-target') doing ??= work();
    },
    done: async () => doing ?? Promise.reject(new Error('it never came to it')),
  };
}

describe('in the middle of a verification', () => {
  it('connections that break are made again, and nothing is passed over', async () => {
    await using proxies = new AsyncDisposableStack();
    const source = proxies.use(await startTcpProxy(pair.source.port));
    const target = proxies.use(await startTcpProxy(pair.target.port));
    const place = { host: '127.0.0.1' };
    await pair.target.client().hset('key:77', 'field', 'other');
    const { done, ...options } = amidst(async () => {
      source.reset();
      target.reset();
    });
    const through = { source: { ...place, port: source.port }, target: { ...place, port: target.port } };
    const report = await verifyPair(through, options);
    await done();
    expect(report.differences.total).toBe(1);
    expect(report.keysCompared).toBe(KEYS + 1);
    await pair.target.client().hset('key:77', 'field', 'value 77');
  });

  it('databases that change places are no proof', async () => {
    const { done, ...options } = amidst(async () => {
      await pair.source.client().swapdb(0, 1);
      await pair.target.client().swapdb(0, 1);
    });
    await expect(verifyStill(pair, options)).rejects.toMatchObject({ code: 'verification-incomplete' });
    await done();
    await pair.source.client().swapdb(0, 1);
    await pair.target.client().swapdb(0, 1);
    expect(await verifyStill(pair)).toMatchObject({ passed: true });
  });

  it('a target that is flushed as the source is has nothing that differs', async () => {
    const { done, ...options } = amidst(async () => {
      await pair.source.client().flushall();
      await pair.target.client().flushall();
    });
    expect(differenceLines(await verifyStill(pair, options))).toEqual([]);
    await done();
    await fill(pair.source);
    await fill(pair.target);
  });

  it('a target that alone is flushed is found out', async () => {
    const { done, ...options } = amidst(() => pair.target.client().flushall());
    const report = await verifyStill(pair, options);
    await done();
    expect(report.passed).toBe(false);
    await fill(pair.target);
  });
});

describe('a user who may not', () => {
  const DENIED = [
    'scan',
    'dump',
    'memory',
    'client|no-touch',
    'object',
    'pexpiretime',
    'function',
    'info',
    'type',
  ];
  it.each(DENIED)('run %s is told so, or the same is found without', async (command) => {
    await pair.target
      .client()
      .call('ACL', 'SETUSER', 'guest', 'reset', 'on', '>word', '~*', '+@all', `-${command}`);
    await pair.target.client().hset('key:78', 'field', 'other');
    const target = { ...accessTo('target', pair.target), username: 'guest', password: new Secret('word') };
    const outcome = await verifyStill(pair, { target }).then(
      (report) => report.differences.total,
      (error: { code?: string }) => error.code,
    );
    const isNeeded = ['scan', 'dump', 'function', 'info', 'type'].includes(command);
    expect(outcome).toBe(isNeeded ? 'target-permission-denied' : 1);
  });
});
