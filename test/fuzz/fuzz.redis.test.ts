import { spawn } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';

const PROVE = path.join(import.meta.dirname, '../../scripts/prove.ts');
const INPUTS = 2_000;
const SEED = 20;
/** Readers that never come back are ended. */
const LIMIT_MS = 240_000;

it(
  'ends in a result or in a named error, in bounded memory, whatever is damaged',
  async () => {
    const { code, printed } = await prove('fuzz', '--inputs', String(INPUTS), '--seed', String(SEED));
    expect(printed).toContain('It holds.');
    // Damage that nobody notices, and damage that is refused: else the inputs would not be worth much.
    for (const ending of [
      'rdb whole',
      'rdb source-protocol-error',
      'copy whole',
      'copy source-protocol-error',
    ]) {
      expect(printed).toContain(ending);
    }
    expect(code).toBe(0);
  },
  LIMIT_MS,
);

function prove(...args: string[]): Promise<{ code: number | null; printed: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROVE, ...args], { timeout: LIMIT_MS, killSignal: 'SIGKILL' });
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        printed += chunk;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, printed }));
  });
}
