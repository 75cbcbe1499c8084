import { type MigrationRecord, reverseIdOf } from '../../contract/host-commands.ts';
import type { JobState } from '../../contract/job-state.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Host } from '../host/host.ts';
import { optional } from '../input-readers.ts';
import type { CommonInputs, InputsOf } from '../inputs.ts';
import type { World } from './phase.ts';

/** How long it is waited for that the sync of a way back has begun to copy. */
const BEGIN_WAIT_MS = 60_000;
const BEGIN_POLL_MS = 1000;
const BEGINNING_STAGES = ['starting', 'connecting'];

type Place = { readonly inputs: CommonInputs; readonly world: World; readonly host: Host };

/** The record of the way back: it names both servers. @throws way-back-missing */
export async function requireWayBack({ inputs, world, host }: Place): Promise<MigrationRecord> {
  const { migrationId } = inputs;
  const { migration } = await host.call({ command: 'status', migrationId, repository: world.repository });
  if (migration?.wayBackOf !== undefined) return migration;
  throw new MigrationError('way-back-missing', `The host knows no way back ${migrationId}.`);
}

/** The way back of a migration, and its sync; undefined where none is kept. */
export async function findWayBack({
  inputs,
  world,
  host,
}: Place): Promise<{ readonly record: MigrationRecord; readonly sync: JobState | undefined } | undefined> {
  const migrationId = reverseIdOf(inputs.migrationId);
  const found = await host.call({ command: 'status', migrationId, repository: world.repository });
  const { migration: record, jobs } = found;
  if (record?.wayBackOf !== inputs.migrationId) return undefined;
  return { record, sync: jobs.find(({ kind }) => kind === 'sync') };
}

type Beginning = Place & {
  readonly inputs: InputsOf<'complete-migration'>;
  readonly warn: (text: string) => void;
};

/**
 * Begins the way back of a completed migration and sees its sync begin to copy; returns its state then. What goes wrong
 * is only told: the target has taken over, and whoever waits for its endpoint must get it.
 */
export async function beginWayBack({ inputs, world, host, warn }: Beginning): Promise<JobState | undefined> {
  const { migrationId, hashFieldTtl, keyDisplay, sourceBytesPerSecondMax, targetCommandsPerSecondMax } =
    inputs;
  const reverse = {
    hashFieldTtl,
    keyDisplay,
    ...optional('sourceBytesPerSecondMax', sourceBytesPerSecondMax),
    ...optional('targetCommandsPerSecondMax', targetCommandsPerSecondMax),
  };
  try {
    await host.call({ command: 'complete', migrationId, repository: world.repository, reverse });
    const sync = await awaitBeginning({ inputs, world, host });
    if (sync?.status === 'running') return sync;
    warn(noWayBack(sync?.error?.message ?? 'its sync does not run'));
    return sync;
  } catch (error) {
    world.signal.throwIfAborted();
    warn(noWayBack(errorText(error)));
    return undefined;
  }
}

async function awaitBeginning(place: Place): Promise<JobState | undefined> {
  const { clock, signal } = place.world;
  const untilMs = clock.nowMs() + BEGIN_WAIT_MS;
  for (;;) {
    const sync = (await findWayBack(place))?.sync;
    const isBeginning = sync?.status === 'running' && BEGINNING_STAGES.includes(sync.progress.stage);
    if (!isBeginning || clock.nowMs() > untilMs) return sync;
    await clock.sleep(BEGIN_POLL_MS, signal);
  }
}

function noWayBack(why: string): string {
  return `The target has taken over, but the way back is not kept: ${why} Run complete-migration again, which tries it again.`;
}
