import type { ClientList, CutoverReport } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { behindFence, liftAfter } from './behind-fence.ts';
import { watchAllClients } from './clients.ts';
import { type Cutover, enter } from './cutover.ts';
import type { ExpiringKeys } from './expiring-keys.ts';
import { areFencesStanding, extendFences, liftFences } from './fences.ts';
import { handOver, isHandOverLost, restoreSettings } from './hand-over.ts';
import { assertMayCutOver } from './preconditions.ts';
import { drainAndProve, prepareProof } from './proof.ts';
import { proveAgain } from './prove-again.ts';
import {
  decideHandOver,
  forgetCutover,
  grantLease,
  PROMOTION_LEASES_MS,
  readCutoverStep,
  writeCutoverStep,
} from './state.ts';
import { assertOldFenceHeld } from './way-back.ts';

/**
 * Fence, drain, prove, hand over; run again after any end, it goes on or starts over as the kept step says.
 *
 * Until the proof is complete every failure lifts the fence and leaves the sync running. From then on the fence
 * stays, whatever happens, until a rollback. On the native route the promotion itself is the action's.
 *
 * Of a way back the target is the old source of the applications: it must have stayed fenced, and handing over lifts that.
 *
 * @throws way-back-unfenced, verification-missing, verification-stale, verification-different, data-skipped, sync-not-running, sync-behind,
 * fence-denied, fence-lost, write-pause-exceeded, and the codes of connections to both sides
 */
export const runCutover: Job<'cutover'> = async (request, context) => {
  const { directory, siblings } = context;
  await siblings.stop('keeper');
  const earlier = readCutoverStep(directory, request);
  const cutover: Cutover = {
    request,
    context,
    source: await resolveAccess('source', request.source, context.resolveSecret),
    target: await resolveAccess('target', request.target, context.resolveSecret),
  };
  if (earlier !== undefined && 'report' in earlier) {
    if (earlier.step === 'doubted') return await proveAgain(cutover, earlier.report);
    if (await areFencesStanding(cutover.source, context)) {
      if (request.route === 'native') leaveToAction(cutover);
      if (earlier.step !== 'completed') await siblings.start({ kind: 'keeper', cutover: request });
      if (earlier.step === 'completed') await extendFences(cutover.source, context);
      const isDone = earlier.step === 'completed' || request.route === 'native';
      const report = isDone ? earlier.report : await handOverOrLift(cutover, earlier.report);
      await restoreSettings(cutover);
      return report;
    }
    if (earlier.step === 'completed') return await proveAgain(cutover, earlier.report);
  }
  await startOver(cutover);
  const [clients, prepared] = await Promise.all([sampleClients(cutover), prepareProof(cutover)]);
  using expiring = prepared;
  await siblings.start({ kind: 'keeper', cutover: request });
  const report = await proveBehindFence(cutover, clients);
  // On the native route the action decides, right before it asks for the promotion.
  if (request.route === 'native') return report;
  const handedOver = await handOverOrLift(cutover, report, expiring);
  await restoreSettings(cutover);
  return handedOver;
};

/** A pause that ended before it was made to last let writes through, a target that failed over lost some: nothing is handed over. */
async function handOverOrLift(
  cutover: Cutover,
  proved: CutoverReport,
  expiring?: ExpiringKeys,
): Promise<CutoverReport> {
  try {
    return await handOver(cutover, proved, expiring);
  } catch (error) {
    if (isHandOverLost(error)) await liftAfter(cutover, error);
    throw error;
  }
}

/** Undoes what a run that died may have left, then looks whether a cutover may begin. */
async function startOver({ request, context, source, target }: Cutover): Promise<void> {
  if (await liftFences(source, context.directory)) {
    context.log(`Lifted the fence that an earlier cutover left at the source ${source.address}.`);
  }
  forgetCutover(context.directory);
  await using targetClient = await openClient(target);
  await assertMayCutOver({ request, context, target: targetClient });
  await assertOldFenceHeld(context);
}

/** Who is connected to the source now; a few looks, since the last command of a client that reads and writes varies. */
async function sampleClients({ source, context }: Cutover): Promise<ClientList | undefined> {
  try {
    await using primaries = await openPrimaries(source);
    const watch = await watchAllClients(primaries);
    for (let look = 0; look < CLIENT_LOOKS; look++) {
      if (look > 0) await context.clock.sleep(CLIENT_LOOK_MS, context.signal);
      await watch.look();
    }
    return watch.list();
  } catch (error) {
    context.signal.throwIfAborted();
    context.log(`The clients of the source are not known: ${errorText(error)}`);
    return undefined;
  }
}

const CLIENT_LOOKS = 5;
const CLIENT_LOOK_MS = 50;

async function proveBehindFence(cutover: Cutover, clients: ClientList | undefined): Promise<CutoverReport> {
  enter(cutover, 'fencing');
  return behindFence(cutover, {
    clients,
    work: (measures, signal) => drainAndProve(cutover, measures, signal),
    decide: (report) => decide(cutover, report),
  });
}

/** From here on the cutover only goes forward. @throws write-pause-exceeded when the keeper was faster */
function decide(cutover: Cutover, report: CutoverReport): void {
  const { request, context } = cutover;
  if (request.route === 'native') {
    leaveToAction(cutover);
    writeCutoverStep(context.directory, request, { step: 'proved', report });
  } else if (!decideHandOver(context.directory, request, report)) {
    throw new MigrationError(
      'write-pause-exceeded',
      `The fence was being lifted when the proof was complete, after ${formatDuration(report.writePauseMs)}.`,
    );
  }
}

/** The proof is the host's, the promotion the action's: this is the time in which it is to decide. */
function leaveToAction({ context: { directory, clock } }: Cutover): void {
  grantLease(directory, clock.nowMs() + PROMOTION_LEASES_MS.proved);
}
