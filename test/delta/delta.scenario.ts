import { expect, it } from 'vitest';
import { verifyDeltas } from './delta.ts';

it('a delta verification compares what was touched since the full one, round after round, and nothing else', async () => {
  const reports = await verifyDeltas({ keys: 20_000, touched: 500 }, 2);
  const seen = reports.map(({ scope, passed, keysCompared }) => ({ scope, passed, keysCompared }));
  const equal = { scope: 'delta', passed: true, keysCompared: 500 };
  expect(seen).toEqual([equal, equal]);
}, 120_000);
