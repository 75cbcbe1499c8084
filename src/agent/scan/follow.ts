import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { encodeClaim } from '../redis/checkpoint.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { BATCH_KEYS, copyDirty, oldestOpen } from './dirty-copy.ts';
import type { ScanSession } from './session.ts';

/** How long a few changes wait for more of them: a key that is written often is then read less often. */
const GATHER_MS = 5;

/**
 * Copies what the pass has left dirty, and says in the claim that the target has everything. Returns early at a gap.
 *
 * @throws claim-lost, what the copier failed with, or the signal's reason
 */
export async function goLive(session: ScanSession): Promise<void> {
  const { attention, dirty, meter, copies, context } = session;
  const { sequence } = dirty;
  while (oldestOpen(session) <= sequence) {
    if (attention.gap !== undefined) return;
    if (!(await copyDirty(session))) await attention.news();
    session.copier.assertSound();
    session.signal.throwIfAborted();
  }
  await writeClaim(session, 'live');
  copies.caughtUp();
  meter.stage = 'live';
  context.log('the target has everything that the source has told of');
}

/** Copies what changes, until there is a gap. Throws as {@link goLive}. */
export async function follow(session: ScanSession): Promise<void> {
  const { attention, copier, dirty, context, signal } = session;
  while (attention.gap === undefined) {
    signal.throwIfAborted();
    copier.assertSound();
    if (dirty.count < BATCH_KEYS && dirty.count > 0) await context.clock.sleep(GATHER_MS, signal);
    if (!(await copyDirty(session))) await attention.news();
  }
  await writeClaim(session, 'reconciling');
}

async function writeClaim(
  { primaries, holder, skips }: ScanSession,
  state: 'live' | 'reconciling',
): Promise<void> {
  const { home } = primaries;
  const claim = encodeClaim({ ...holder, state, ...skips.forClaim() });
  // Without one somebody has emptied the target.
  if ((await home.call('SET', RESERVED_KEY, claim, 'XX')) === null) throw claimLost(home.access);
}

/** Says that the target has lost what tells whose it is. */
export function claimLost({ address }: Pick<Access, 'address'>): MigrationError {
  return new MigrationError(
    'claim-lost',
    `The target ${address} has lost the claim of this migration, and what else it held with it: somebody has emptied it or deleted ${RESERVED_KEY}.`,
  );
}
