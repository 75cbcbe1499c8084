import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { createTlsFiles } from '../../servers/tls.ts';
import { startSync } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

const VALUE = Buffer.alloc(20_000, 'incompressible?'.repeat(7));
/** Long, so that a thousand of its commands are a lag worth a word. */
const COUNTER = `counter:${'x'.repeat(100)}`;
/** What the kernel's buffers on both ends may hold beside what was taken: they are filled at once. */
const IN_FLIGHT_BYTES_MAX = 12_000_000;

it.each([
  { way: 'without a file', diskless: 'yes', isTls: false },
  { way: 'from a file', diskless: 'no', isTls: false },
  { way: 'by TLS', diskless: 'yes', isTls: true },
])(
  'takes the copy $way from the source at the rate allowed, and leaves the stream alone',
  async ({ diskless, isTls }) => {
    const perSecond = 8_000_000;
    await using files = await createTlsFiles();
    await using source = await startServer({
      server: await sourceServer(),
      config: {
        rdbcompression: 'no',
        'repl-diskless-sync': diskless,
        'repl-diskless-sync-delay': '0',
        'repl-timeout': '3',
        'client-output-buffer-limit': 'replica 512mb 512mb 0',
      },
      tls: files,
    });
    await using target = await startServer({ server: await targetServer(), tls: files });
    const client = source.client();
    await fill(client, 'copied', 2_500);
    const [sourcePort = 0, targetPort = 0] = [source.tlsPort, target.tlsPort];
    const tls = { caFile: files.ca, sourcePort, targetPort };
    const places = { source, target, ...(isTls ? { tls } : {}) };
    await using sync = await startSync({ ...places, sourceBytesPerSecondMax: perSecond });
    const begun = await sync.until(({ stage }) => stage === 'copying');
    const startedAtMs = Date.now();
    expect(begun.notes.join()).toContain('the copy takes at most 7.6 MiB/s from the source');
    const before = await sentBytes(client);
    await sync.until(({ bottleneck }) => bottleneck === 'throttle');
    await fill(client, 'streamed', 500);
    await sync.until(({ percent }) => (percent ?? 0) > 60);
    const seconds = (Date.now() - startedAtMs) / 1000;
    const taken = (await sentBytes(client)) - before;
    expect(taken).toBeLessThan(perSecond * seconds * 1.2 + IN_FLIGHT_BYTES_MAX);
    await sync.until(({ stage }) => stage === 'live');
    expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);

    await fill(client, 'live', 1_000);
    await sync.caughtUp();
    const { notes } = await sync.until(({ lagBytes }) => lagBytes === 0);
    expect(notes.join()).not.toContain('at most');
    expect(await client.info('stats')).toMatch(/^sync_full:1\r$/m);
  },
  60_000,
);

it('gives the target no more commands a second than allowed, in the copy and in the stream', async () => {
  const perSecond = 500;
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  const counter = target.client();
  for (let key = 0; key < 1_500; key++) await client.hset(`hash:${key}`, 'field', 'value');
  const rate = await rateOf(counter);
  await using sync = await startSync({ source, target, targetCommandsPerSecondMax: perSecond });
  await sync.until(({ bottleneck }) => bottleneck === 'throttle');
  const { notes } = await sync.until(({ stage }) => stage === 'live');
  expect(notes.join()).toContain('the target gets at most 500 commands/s');
  // INFO and what the control plane asks besides.
  const aside = 60;
  expect(await rate.commands()).toBeLessThan(perSecond * rate.seconds() * 1.1 + perSecond / 10 + aside);

  const streamed = await rateOf(counter);
  const pipeline = client.pipeline();
  for (let count = 0; count < 1_500; count++) pipeline.incr(COUNTER);
  await pipeline.exec();
  await sync.until(({ bottleneck }) => bottleneck === 'throttle');
  await sync.caughtUp();
  expect(await counter.get(COUNTER)).toBe('1500');
  // The watcher of this test asks for the claim with every progress.
  expect(await streamed.commands()).toBeLessThan(
    perSecond * streamed.seconds() * 1.1 + perSecond / 10 + aside + 10 * streamed.seconds(),
  );
  expect(compareDumps(await readTypedDump(client), await readTypedDump(counter))).toEqual([]);
});

it('spools what waits for a limited target, and stops at once while it waits', async () => {
  await using source = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await using sync = await startSync({ source, target, targetCommandsPerSecondMax: 100 });
  await sync.until(({ stage }) => stage === 'live');
  await fill(client, 'streamed', 1_200);
  await sync.until(({ notes }) => notes.some((note) => note.startsWith('spooled on disk')));
  const report = await sync.stop();
  expect(report.checkpoint?.offset).toBeGreaterThan(0);
  expect(report.appliedCommands).toBeLessThan(1_200);

  await using second = await startSync({ source, target });
  await second.until(({ stage }) => stage === 'live');
  await second.caughtUp();
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
});

async function fill(client: Redis, name: string, keys: number): Promise<void> {
  const pipeline = client.pipeline();
  for (let key = 0; key < keys; key++) pipeline.set(`${name}:${key}`, VALUE);
  await pipeline.exec();
}

/** What the source has sent, to its replicas and otherwise. */
async function sentBytes(client: Redis): Promise<number> {
  return Number(/^total_net_output_bytes:(\d+)/m.exec(await client.info('stats'))?.[1]);
}

async function rateOf(client: ReturnType<RunningServer['client']>) {
  const processed = async () =>
    Number(/^total_commands_processed:(\d+)/m.exec(await client.info('stats'))?.[1] ?? 0);
  const startedAtMs = Date.now();
  const before = await processed();
  return {
    commands: async () => (await processed()) - before,
    seconds: () => (Date.now() - startedAtMs) / 1000,
  };
}
