import type { Checkpoint } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { encodeClaim, SCAN_HISTORY } from '../redis/checkpoint.ts';
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
  const { attention, copier, dirty, context, signal, touched } = session;
  const now = () => ({ replid: SCAN_HISTORY, offset: context.clock.nowMs() });
  // The primaries of a cluster are not in step: a proof compares everything.
  if (session.layout !== '') touched.lose('the source is in cluster mode');
  using _ = session.layout === '' ? touched.attach(now(), now) : undefined;
  while (attention.gap === undefined) {
    signal.throwIfAborted();
    copier.assertSound();
    if (dirty.count < BATCH_KEYS && dirty.count > 0) await context.clock.sleep(GATHER_MS, signal);
    if (!(await copyDirty(session))) await attention.news();
  }
  touched.lose('everything was gone over again');
  await writeClaim(session, 'reconciling');
}

/**
 * Says in the claim that the target has everything up to a moment, by the clock of the host. Nothing is waited for
 * before it is on its way: what is written to the claim later comes later.
 */
export async function commit(session: ScanSession, atMs: number): Promise<void> {
  session.touched.flush(atMs);
  await writeClaim(session, 'live', { replid: SCAN_HISTORY, offset: atMs, db: 0 });
}

/** Takes back what the claim says of a moment, since nobody goes on from there. The next sync writes it anew. */
export async function leaveClaim(session: ScanSession): Promise<void> {
  const state = session.meter.stage === 'live' ? 'live' : 'reconciling';
  await writeClaim(session, state).catch(() => {
    // The target is gone, or the claim: whoever looks for it next says so.
  });
}

async function writeClaim(
  { primaries, holder, skips }: ScanSession,
  state: 'live' | 'reconciling',
  checkpoint?: Checkpoint,
): Promise<void> {
  const { home } = primaries;
  const claim = encodeClaim({ ...holder, state, checkpoint, ...skips.forClaim() });
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
