import type { MigrationRecord } from '../../contract/host-commands.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import {
  awaitCompletion,
  requestCompletion,
  waitForAvailable,
  watchCompletion,
} from '../aws/online-migration.ts';
import type { Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import type { InputsOf } from '../inputs.ts';
import { runHostJob } from './host-job.ts';
import type { Found, World } from './phase.ts';

/** A cutover under way: what it was asked for, and what it works on. */
export type CutoverSetting = {
  readonly inputs: InputsOf<'complete-migration'>;
  readonly world: World;
  readonly found: Found<'complete-migration'>;
  readonly host: Host;
  readonly target: Target;
  readonly migration: MigrationRecord;
};

/**
 * Lets ElastiCache promote the target, unless an earlier run got as far as that.
 *
 * The host hears of every step of it: when this run dies in it, the keeper there finds out what became of the target.
 *
 * @throws write-pause-exceeded, aws-unavailable, and the codes of the online migration
 */
export async function promote(setting: CutoverSetting, id: string): Promise<void> {
  const { inputs, world, found } = setting;
  const { waitTimeoutMs: timeoutMs } = inputs;
  if ((await readRole(setting)) === 'master') {
    await decideHandOver(setting, { isAccepted: true });
    found.warn('An earlier attempt had promoted the target behind the same fence.');
    await waitForAvailable(world.elasticache, { id, timeoutMs });
    return;
  }
  let progress: Promotion = 'not-requested';
  try {
    const watch = await watchCompletion(world.elasticache, id);
    world.signal.throwIfAborted();
    await decideHandOver(setting, { isAccepted: false });
    progress = 'requested';
    await requestPromotion(setting, id);
    progress = 'accepted';
    const done = await signingOfLife(setting, () =>
      awaitCompletion(world.elasticache, { id, watch, timeoutMs }),
    );
    found.part({ nativeEvents: done.events });
  } catch (error) {
    if (isNotPromoted(error, progress)) await unfence(setting);
    else
      found.warn(
        'The source stays fenced, because the target may yet be promoted. Run complete-migration again, or rollback; when nobody does, the keeper on the host looks after some minutes, and lifts the fence of a target that is not promoted.',
      );
    throw error;
  }
}

/**
 * Asked for no longer than the keeper on the host leaves the fence alone without a word of it: a request that came later
 * would promote behind a lifted fence. The request of an earlier run may still be at work, and the group busy with it.
 */
async function requestPromotion(setting: CutoverSetting, id: string): Promise<void> {
  const { world } = setting;
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const door = { ...world.elasticache, signal: AbortSignal.any([world.signal, timeout]) };
  try {
    for (;;) {
      const busy = await requestCompletion(door, { id, force: false }).catch(busyOrThrow);
      if (busy === undefined || (await readRole(setting)) === 'master') return;
      if (busy.code === 'replication-group-not-migrating') throw busy;
      world.log(`${busy.message} Asking again.`);
      await world.clock.sleep(REQUEST_EVERY_MS, door.signal);
    }
  } catch (error) {
    if (error !== timeout.reason) throw error;
    const message = `CompleteMigration for replication group ${id} was not accepted in ${formatDuration(REQUEST_TIMEOUT_MS)}.`;
    throw new MigrationError('aws-unavailable', message, { cause: error });
  }
}

function busyOrThrow(error: unknown): MigrationError {
  const codes = ['replication-group-not-available', 'replication-group-not-migrating'];
  if (isMigrationError(error) && codes.includes(error.code)) return error;
  throw error;
}

async function readRole({ inputs, world, host, migration }: CutoverSetting): Promise<string> {
  const { source, target } = migration;
  const look = await runHostJob({ inputs, world, host }, { kind: 'link', source, target, waitMs: 0 });
  if (look.error !== undefined) throw look.error;
  return look.report.role;
}

const REQUEST_EVERY_MS = 5_000;
const REQUEST_TIMEOUT_MS = 120_000;

/** Tells the host, as long as the work goes on, that somebody stands behind the decision; a word that is lost is no harm. */
async function signingOfLife<Result>(setting: CutoverSetting, work: () => Promise<Result>): Promise<Result> {
  const { world } = setting;
  const done = new AbortController();
  const signal = AbortSignal.any([world.signal, done.signal]);
  const tell = async () => {
    while (!signal.aborted) {
      await decideHandOver(setting, { isAccepted: true }).catch((error: unknown) =>
        world.log(`The host was not told that the promotion is under way: ${errorText(error)}`),
      );
      await world.clock.sleep(SIGN_EVERY_MS, signal).catch(() => {
        // The work is done, or the run cancelled.
      });
    }
  };
  const told = tell();
  try {
    return await work();
  } finally {
    done.abort();
    await told;
  }
}

const SIGN_EVERY_MS = 60_000;

/** From here on the keeper on the host leaves the fence alone. @throws write-pause-exceeded when it was faster */
async function decideHandOver(
  { inputs, world, host }: CutoverSetting,
  { isAccepted }: { isAccepted: boolean },
): Promise<void> {
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const { decided } = await host.call({ command: 'hand-over', ...identity, isAccepted });
  if (decided) return;
  throw new MigrationError(
    'write-pause-exceeded',
    'The proof was not followed by the promotion in time, and the fence at the source was lifted.',
  );
}

type Promotion = 'not-requested' | 'requested' | 'accepted';

/** Whether nothing was promoted, for certain: otherwise writes behind a lifted fence would be lost. */
function isNotPromoted(error: unknown, progress: Promotion): boolean {
  if (progress === 'not-requested') return true;
  if (!isMigrationError(error)) return false;
  return error.code === (progress === 'accepted' ? 'migration-promotion-failed' : 'aws-access-denied');
}

/** Lifts the fence, also at the end of a run that was cancelled: hence a signal of its own. */
export async function unfence({ inputs, world, found, host, migration }: CutoverSetting): Promise<void> {
  const signal = AbortSignal.timeout(UNFENCE_TIMEOUT_MS);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  try {
    const job = { kind: 'unfence', source: migration.source } as const;
    await host.call({ command: 'start', ...identity, job }, { signal });
    found.warn('The fence at the source is lifted, because nothing was handed over.');
  } catch (error) {
    found.warn(`The fence at the source was not lifted, run rollback: ${errorText(error)}`);
  }
}

/** A cancelled run has 7.5 seconds for everything. */
const UNFENCE_TIMEOUT_MS = 5000;
