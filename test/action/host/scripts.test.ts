import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  base64Value,
  buildScript,
  documentParameters,
  OPERATIONS,
  readScriptOutput,
} from '../../../src/action/host/scripts.ts';

const HOSTILE = [
  `it's "quoted"`,
  '$(touch pwned)',
  '`touch pwned`',
  "'; touch pwned; '",
  'a\ntouch pwned\n',
  '{{ssm:/secret}}',
  '{{ global:DATE }}',
  '-rf',
  '\\',
  'ключ 鍵',
];

describe('a script', () => {
  it.each(HOSTILE)('carries %j to the host without anybody interpreting it', async (text) => {
    const directory = await mkdtemp(join(tmpdir(), 'script-'));
    try {
      const body = 'printf %s "$value_base64" | base64 -d';
      const { text: script } = buildScript(body, { value_base64: base64Value(text) });
      const { stdout } = await promisify(execFile)('/bin/sh', ['-c', script], { cwd: directory });
      expect(stdout).toBe(text);
      expect(await readdir(directory)).toEqual([]);
      expect(script).not.toContain('{{');
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it.each(HOSTILE)('refuses %j as a token and as base64', (text) => {
    expect(() => buildScript('', { value: { token: text === '-rf' ? '-rf;' : text } })).toThrow(
      'is not a token',
    );
    expect(() => buildScript('', { value: { base64: text } })).toThrow('is not base64');
  });

  it('refuses a value whose name is no shell name', () => {
    expect(() => buildScript('', { 'a=b;': { token: 'x' } })).toThrow('no shell name');
  });

  it('refuses a body with braces that Systems Manager interprets', () => {
    expect(() => buildScript('echo {{ssm:x}}', {})).toThrow('Systems Manager');
  });

  it.each(Object.entries(OPERATIONS))(
    '%s is a text that the shell understands and Systems Manager leaves alone',
    async (_name, body) => {
      const { text } = buildScript(body, {});
      await promisify(execFile)('/bin/sh', ['-n', '-c', text]);
      expect(existsSync('pwned')).toBe(false);
    },
  );
});

it('gives a document the values that it gives a script, under the names of its parameters', () => {
  const values = { agent_sha256: { token: 'ab12' }, request_base64: base64Value('{}') };
  expect(documentParameters('call-agent', values)).toEqual({
    operation: ['call-agent'],
    agentSha256: ['ab12'],
    requestBase64: ['e30='],
  });
  expect(() => documentParameters('probe', { shipment: { token: "'; id" } })).toThrow('is not a token');
});

it('reads key=value lines whose values hold equals signs', () => {
  expect([...readScriptOutput('a=1\nnoise\nb=x=y==\n')]).toEqual([
    ['a', '1'],
    ['b', 'x=y=='],
  ]);
});
