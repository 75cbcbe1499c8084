import { readdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { describe, expect, it } from 'vitest';
import { OUTPUT_NAMES } from '../../src/action/outputs.ts';
import { HOSTILE_TEXTS } from '../action/summary/hostile-texts.ts';
import { structureOf } from '../action/summary/markup-structure.ts';
import type { ActionResult } from '../runner/run-action.ts';
import { openStage } from './stage.ts';

/** What a shell would do something with; a file of this name would tell. */
const SHELL_TEXTS = [
  '$(touch pwned)',
  '`touch pwned`',
  "'; touch pwned; '",
  '"; touch pwned; "',
  '| touch pwned',
  '&& touch pwned #',
];
const TEXTS = [...SHELL_TEXTS, ...HOSTILE_TEXTS.filter((text) => text.trim() !== '' && text.length < 600)];

describe('hostile texts through the built action', () => {
  it('are words in every report when they are keys, values and names of clients', {
    timeout: 120_000,
  }, async () => {
    expect(TEXTS.length).toBeGreaterThanOrEqual(50);
    await using stage = await openStage();
    const client = stage.source.client();
    for (const [index, text] of TEXTS.entries()) {
      if (index % 2 === 0) await client.set(text, TEXTS.at(-index) ?? '');
      else await client.hset(text, text, text);
    }
    await client.call('CLIENT', 'SETNAME', '::error::<b>|`x`$(touch$IFS$9pwned)');
    const result = await stage.run('verify', { inputs: { 'key-display': 'shown' } });
    expect(result.outputs).toMatchObject({
      'error-code': 'verification-different',
      differences: String(TEXTS.length),
    });
    expectHarmless(result);
    // They are shown: what is harmless because it is missing proves nothing.
    expect(result.summary).toContain('alert(1)');
    expect(result.summary).toContain('touch pwned');
    expect(await readdir(stage.instance.directory, { recursive: true })).not.toContain('pwned');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) {
      const passed = await stage.run(phase, { inputs: { 'key-display': 'shown' } });
      expect({ phase, code: passed.outputs['error-code'], log: passed.log }).toMatchObject({
        code: undefined,
      });
      expectHarmless(passed);
    }
  });

  it('are words when AWS says them, in what fails and in what is only logged', async () => {
    await using stage = await openStage();
    const { faults } = stage.simulator;
    const commands = TEXTS.filter((text) => /::|##\[/.test(text));
    expect(commands.length).toBeGreaterThanOrEqual(3);
    for (const text of [...commands, '<script>alert(1)</script>', '$(touch pwned)']) {
      faults.inject({
        operation: 'DescribeReplicationGroups',
        error: 'InvalidParameterValue',
        message: xmlText(text),
      });
      const failed = await stage.run('status');
      expect(failed.outputs['error-code']).toBe('replication-group-unsuitable');
      expectHarmless(failed);
    }
    const message = xmlText([...SHELL_TEXTS, ...commands].join(' '));
    faults.inject({ operation: 'DescribeCacheClusters', error: 'AccessDenied', message });
    const logged = await stage.run('status');
    expect(logged.log).toContain('Going on without it');
    expectHarmless(logged);
  });

  it('are words when a server answers with them', async () => {
    await using stage = await openStage();
    await using server = await startHostileServer(TEXTS.map((text) => text.replaceAll(/[\r\n]/g, ' ')));
    const result = await stage.run('preflight', {
      inputs: { 'source-endpoint': `127.0.0.1:${server.port}` },
    });
    expect(result.exitCode).toBe(1);
    expectHarmless(result);
  });

  it.each(['replication-group-id', 'source-endpoint', 'source-username', 'migration-id', 'phase'])(
    'are words when they are given as %s',
    async (input) => {
      await using stage = await openStage();
      const text =
        '\n::set-output name=result::passed\n##[add-mask]x $(touch pwned) `touch pwned` <script>x</script>';
      const result = await stage.run(input === 'phase' ? text : 'preflight', {
        inputs: input === 'phase' ? {} : { [input]: text },
      });
      expect(result.exitCode).toBe(1);
      expectHarmless(result);
      expect(await readdir(stage.instance.directory, { recursive: true })).not.toContain('pwned');
    },
  );
});

describe('the judge of these tests', () => {
  const good = {
    log: 'a\n::error title=x::y\n',
    stderr: '',
    summary: '# A\n',
    outputs: { result: 'failed' },
    otherFiles: '',
    masks: [],
    annotations: [],
    exitCode: 1,
  };

  it.each([
    ['a command', { log: '::set-env name=PATH::x\n' }],
    ['an indented command', { log: '  ::add-path::x\n' }],
    ['a command of old', { log: 'x ##[add-path]x\n' }],
    ['colours', { log: '\u001b[31m\n' }],
    ['a link', { summary: '[a](https://evil.example)\n' }],
    ['HTML', { summary: 'a <b>c</b>\n' }],
    ['an output of nobody', { outputs: { result: 'failed', forged: 'x' } }],
    ['a forged result', { outputs: { result: 'passed' } }],
    ['an environment', { otherFiles: 'PATH=/evil\n' }],
  ])('sees %s', (_, change) => {
    expect(() => expectHarmless({ ...good, ...change })).toThrow();
  });

  it('sees nothing in what is harmless', () => {
    expectHarmless(good);
  });
});

/** Nothing in what a run leaves would be taken for anything but words, by the runner, a terminal or a page. */
function expectHarmless(result: ActionResult): void {
  const lines = result.log.split(/\r?\n/);
  const commands = lines.filter((line) => line.trimStart().startsWith('::'));
  for (const command of commands) expect(command).toMatch(/^::(error|warning|notice) title=[^:,]*::/);
  // The runner reads a line that begins with `::name::` as this command only.
  expect(lines.filter((line) => line.includes('##[') && !commands.includes(line))).toEqual([]);
  expect(result.log).not.toMatch(CONTROLS);
  expect(result.stderr).not.toMatch(CONTROLS);
  expect(result.masks).toEqual([]);
  expect(result.otherFiles).toBe('');
  const names: readonly string[] = OUTPUT_NAMES;
  expect(Object.keys(result.outputs).filter((name) => !names.includes(name))).toEqual([]);
  expect(result.outputs.result).toBe(result.exitCode === 0 ? 'passed' : 'failed');
  expect(result.summary).not.toMatch(CONTROLS);
  expect(structureOf(result.summary).filter((line) => FOREIGN.test(line))).toEqual([]);
}

/** Everything that moves a cursor or hides text; lines may end. */
const CONTROLS = /(?![\t\n])[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;
/** What of a structure no summary of ours has. */
const FOREIGN = /^ *(link|image|def|html (?!own))/u;

/** XML 1.0, which the answers of ElastiCache are, has no way to say most control characters. */
function xmlText(text: string): string {
  return text.replaceAll(/(?![\t\n\r])[\p{Cc}\p{Cs}]/gu, '');
}

type HostileServer = AsyncDisposable & { readonly port: number };

/** Answers every command with an error, one hostile text after the other. */
async function startHostileServer(texts: readonly string[]): Promise<HostileServer> {
  let turn = 0;
  const server: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      // One answer for each command of the batch.
      for (const _ of bytes.toString('latin1').matchAll(/^\*\d+\r$/gm)) {
        socket.write(`-${texts[turn % texts.length]}\r\n`);
        turn += 1;
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return {
    port: address.port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
