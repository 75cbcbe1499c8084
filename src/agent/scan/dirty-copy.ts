import type { ScanSession } from './session.ts';

/** How many keys are read together: so few that other clients of the source wait for no more than that. */
export const BATCH_KEYS = 100;

/** Begins to copy a batch of the dirty keys; false when there is none that may be read now. */
export async function copyDirty({ dirty, copier, underWay }: ScanSession): Promise<boolean> {
  const taken = dirty.take(BATCH_KEYS, ({ db, key }) => copier.isFree(db, key));
  if (taken === undefined) return false;
  underWay.add(taken);
  await copier.copy({ ...taken, expiry: 'each' }, () => underWay.delete(taken));
  return true;
}

/** The number of the oldest change that the target may not have; infinite when it has all. */
export function oldestOpen({ dirty, underWay }: Pick<ScanSession, 'dirty' | 'underWay'>): number {
  let oldest = dirty.oldest;
  for (const { sequence } of underWay) oldest = Math.min(oldest, sequence);
  return oldest;
}
