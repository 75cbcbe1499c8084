import { expect, it } from 'vitest';
import { findServer } from '../servers/start.ts';
import { goThereAndBack } from './way-back.ts';

it.each(['7.0', '8.0'])(
  'the way back to Redis %s takes every acknowledged write along, under load',
  async (version) => {
    const lines: string[] = [];
    await goThereAndBack(
      {
        keys: 2_000,
        writes: 5_000,
        seed: 11,
        source: await findServer({ kind: 'redis', version }),
        target: await findServer({ kind: 'valkey', version: 'newest' }),
      },
      (line) => lines.push(line),
    );
    expect(lines.at(-1)).toContain('none missing');
  },
  240_000,
);
