import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { readAgentBundle } from '../../../src/action/host/agent-bundle.ts';

it('cuts the agent into parts that each fit a command and together are the agent', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'agent-bundle-'));
  try {
    const path = join(directory, 'index.js');
    const bytes = randomBytes(200_000);
    await writeFile(path, bytes);
    const bundle = await readAgentBundle(path);
    expect(Math.max(...bundle.partsBase64.map((part) => part.length))).toBeLessThanOrEqual(60_000);
    const packed = Buffer.concat(bundle.partsBase64.map((part) => Buffer.from(part, 'base64')));
    expect(gunzipSync(packed).equals(bytes)).toBe(true);
    expect(bundle.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(bundle.sizeBytes).toBe(200_000);
  } finally {
    await rm(directory, { recursive: true });
  }
});

it('names the path of an agent that is not there', async () => {
  await expect(readAgentBundle('/nowhere/index.js')).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringContaining('/nowhere/index.js'),
  });
});
