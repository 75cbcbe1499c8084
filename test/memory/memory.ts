import { memoryCases } from './memory-cases.ts';
import { measurePeakMemory, PEAK_BYTES_MAX } from './peak-memory.ts';

/** Measures every case whose name begins with `only`, at full size; throws when one takes too much or is not equal. */
export async function measureMemory(
  { only }: { only: string },
  print: (line: string) => void,
): Promise<void> {
  let failures = 0;
  for (const memoryCase of memoryCases(1).filter(({ name }) => name.startsWith(only))) {
    const finding = await measurePeakMemory(memoryCase).then(
      ({ peakBytes, durationMs, difference }) => {
        const isWithin = peakBytes <= PEAK_BYTES_MAX && difference === undefined;
        failures += isWithin ? 0 : 1;
        const verdict = isWithin ? '' : `: MORE THAN ALLOWED, OR DIFFERENT: ${difference ?? 'equal'}`;
        return `${Math.round(peakBytes / 1e6)} MB in ${(durationMs / 1000).toFixed(1)} s${verdict}`;
      },
      (error: unknown) => {
        failures += 1;
        return `FAILED: ${error}`;
      },
    );
    print(`${memoryCase.name}: ${finding}`);
  }
  if (failures > 0) throw new Error(`${failures} cases do not stay within ${PEAK_BYTES_MAX} bytes`);
}
