import type { ClientList, CutoverReport } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { retry } from '../../core/retry.ts';
import { formatDuration } from '../../core/units.ts';
import type { Job } from '../job/context.ts';
import { type Access, resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { watchAllClients } from './clients.ts';
import { type Cutover, enter } from './cutover.ts';
import type { FenceWriter } from './fence-by-acl.ts';
import { areFencesStanding, liftFences, setFences } from './fences.ts';
import { handOver, restoreSettings } from './hand-over.ts';
import { assertMayCutOver } from './preconditions.ts';
import { drainAndProve, prepareProof } from './proof.ts';
import {
  decideHandOver,
  decideLift,
  forgetCutover,
  grantLease,
  PROMOTION_LEASES_MS,
  readCutoverStep,
  writeCutoverStep,
} from './state.ts';
import { assertOldFenceHeld, makeWriter } from './way-back.ts';
import { startWritePause, untilAborted, type WritePauseMeasures } from './write-pause.ts';

/** Pauses between the attempts to lift a fence: the source must not stay fenced for one broken connection. */
const LIFT_DELAYS_MS = [200, 1000, 3000];

/**
 * Fence, drain, prove, hand over; run again after any end, it goes on or starts over as the kept step says.
 *
 * Until the proof is complete every failure lifts the fence and leaves the sync running. From then on the fence
 * stays, whatever happens, until a rollback. On the native route the promotion itself is the action's.
 *
 * Of a way back the target is the old source of the applications: it must have stayed fenced, and handing over lifts that.
 *
 * @throws way-back-unfenced, verification-missing, verification-stale, verification-different, data-skipped, sync-not-running, sync-behind,
 * fence-denied, write-pause-exceeded, and the codes of connections to both sides
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
    if (await isFenced(cutover)) {
      if (request.route === 'native') leaveToAction(cutover);
      if (earlier.step !== 'completed') await siblings.start({ kind: 'keeper', cutover: request });
      const isDone = earlier.step === 'completed' || request.route === 'native';
      const report = isDone ? earlier.report : await handOver(cutover, earlier.report);
      await restoreSettings(cutover);
      return report;
    }
    if (earlier.step === 'completed') throw fenceLost(cutover.source, earlier.report);
  }
  await startOver(cutover);
  const [clients, prepared] = await Promise.all([sampleClients(cutover), prepareProof(cutover)]);
  using expiring = prepared;
  await siblings.start({ kind: 'keeper', cutover: request });
  const report = await proveBehindFence(cutover, clients);
  // On the native route the action decides, right before it asks for the promotion.
  if (request.route === 'native') return report;
  const handedOver = await handOver(cutover, report, expiring);
  await restoreSettings(cutover);
  return handedOver;
};

async function isFenced({ source, context }: Cutover): Promise<boolean> {
  return areFencesStanding(source, context);
}

/** The target was released behind a fence that has fallen since: nobody knows what the source took meanwhile. */
function fenceLost({ address }: Access, { fencedAtMs }: CutoverReport): MigrationError {
  return new MigrationError(
    'fence-lost',
    `The target was handed over behind the fence of ${new Date(fencedAtMs).toISOString()}, but the source ${address} takes writes again.`,
  );
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
  const { request, context } = cutover;
  const measures: WritePauseMeasures = { fencedAtMs: context.clock.nowMs(), fence: '', clients };
  const { clock, signal } = context;
  const { maxWritePauseMs } = request;
  using pause = startWritePause({ maxWritePauseMs, measures, clock, signal });
  try {
    enter(cutover, 'fencing');
    measures.fence = await setFences(cutover.source, { ...context, ...fenceOf(cutover) });
    context.log(`Writes at the source ${cutover.source.address} are fenced: ${measures.fence}.`);
    const report = await untilAborted(drainAndProve(cutover, measures, pause.signal), pause.signal);
    decide(cutover, report);
    return report;
  } catch (error) {
    await liftAfter(cutover, error);
    throw error;
  }
}

/** A fence that is a pause outlasts the budget by the moment in which it is made to last. */
function fenceOf({ request, context }: Cutover): { pauseMs?: number; writer?: FenceWriter } {
  const { route, maxWritePauseMs, reverse } = request;
  if (reverse === true) return { writer: makeWriter(context.directory, context.migrationId) };
  return route === 'native' ? {} : { pauseMs: maxWritePauseMs + PAUSE_MARGIN_MS };
}

const PAUSE_MARGIN_MS = 5_000;

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

/** Lifts the fence over a connection of its own: the one that failed may be the reason why. */
async function liftAfter({ context, source }: Cutover, failure: unknown): Promise<void> {
  const { clock, directory } = context;
  const lift = async () => {
    decideLift(directory);
    if (await liftFences(source, directory)) context.log('Lifted the fence: the cutover did not succeed.');
    forgetCutover(directory);
  };
  // Not the job's signal: a job that is stopped must lift its fence as well.
  const signal = new AbortController().signal;
  try {
    await retry(lift, { policy: { delaysMs: LIFT_DELAYS_MS, shouldRetry: () => true }, clock, signal });
  } catch (error) {
    throw new MigrationError(
      'fence-denied',
      `The fence at the source ${source.address} could not be lifted (${errorText(error)}), after: ${errorText(failure)}`,
      { remedy: 'The source still refuses writes. Run rollback, which lifts the fence.', cause: failure },
    );
  }
}
