import { expect, it } from 'vitest';
import { memoryCases } from './memory-cases.ts';
import { canMeasure, measurePeakMemory, PEAK_BYTES_MAX } from './peak-memory.ts';

/** Still far more than the agent may have resident, where the data is large. */
const SHARE = 1 / 4;
/** Filling a server is slow where others are at work. */
const LIMIT_MS = 180_000;
const NAMES = ['a string of 512 MiB', 'a hash of 5,000,000 fields', 'a list of 4 elements of 100 MiB'];
const CASES = memoryCases(SHARE).filter(({ name }) => NAMES.includes(name));

it.for(CASES)(
  'the built agent stays within its memory with a quarter of $name',
  { timeout: LIMIT_MS },
  async (memoryCase, { skip }) => {
    if (!(await canMeasure())) return skip('this system does not tell what a process has resident');
    const { peakBytes, difference } = await measurePeakMemory(memoryCase);
    expect(difference).toBeUndefined();
    expect(peakBytes).toBeLessThanOrEqual(PEAK_BYTES_MAX);
  },
);
