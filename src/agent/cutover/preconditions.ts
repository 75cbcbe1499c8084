import { formatAddress } from '../../contract/endpoint.ts';
import type { JobRequestOf } from '../../contract/jobs.ts';
import { notAgreedTo, type SkippedCount } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatCount, formatDuration } from '../../core/units.ts';
import type { JobContext } from '../job/context.ts';
import type { Client } from '../redis/client.ts';
import { readServerInfo } from '../redis/server-info.ts';
import { isLinkUp } from './drain.ts';

/** What the preconditions look at; only the native route asks the target itself. */
export type Precondition = {
  readonly request: JobRequestOf<'cutover'>;
  readonly context: Pick<JobContext, 'siblings' | 'clock' | 'migrationId'>;
  readonly target: Client;
};

/**
 * Refuses a cutover that must not begin; nothing has been changed yet.
 *
 * @throws verification-missing, verification-superseded, verification-different, verification-stale, data-skipped, sync-not-running, sync-behind
 */
export async function assertMayCutOver(precondition: Precondition): Promise<void> {
  await assertVerified(precondition);
  await assertNothingLeftOut(precondition);
  if (precondition.request.route === 'native') await assertLinkUp(precondition);
  else await assertSyncLive(precondition);
}

/**
 * The last verification must be a full one of this migration and these servers, passed, and recent. One of what changed
 * since a full one counts as no younger than that, and without it for nothing.
 */
async function assertVerified({ request, context }: Precondition): Promise<void> {
  const report = await context.siblings.report('verify');
  const missing = (reason: string) => new MigrationError('verification-missing', reason);
  if (report === undefined) throw missing('There is no verification of this migration.');
  if (report.migrationId !== context.migrationId) {
    throw missing(`The last verification is of the migration ${report.migrationId}.`);
  }
  const reviewed = request.reviewedVerificationId;
  if (reviewed !== undefined && reviewed !== report.verificationId) {
    throw new MigrationError(
      'verification-superseded',
      `The verification that was reviewed is ${reviewed}, and the last one is ${report.verificationId}.`,
    );
  }
  if (report.scope !== 'full' && report.base === undefined)
    throw missing(`The last verification is a ${report.scope} one, not a full one.`);
  const compared = `${report.sourceAddress} with ${report.targetAddress}`;
  const wanted = `${formatAddress(request.source)} with ${formatAddress(request.target)}`;
  if (compared !== wanted) throw missing(`The last verification compared ${compared}, not ${wanted}.`);
  if (!report.passed) {
    throw new MigrationError(
      'verification-different',
      `The last verification found ${report.differences.total} differences, more than ${report.maxDifferences}.`,
    );
  }
  assertNothingSkipped(report.skipped, request, 'The last verification');
  const ageMs = context.clock.nowMs() - (report.base ?? report).finishedAtMs;
  if (ageMs <= request.maxVerificationAgeMs) return;
  throw new MigrationError(
    'verification-stale',
    `The last full verification ended ${formatDuration(ageMs)} ago; at most ${formatDuration(request.maxVerificationAgeMs)} are allowed.`,
  );
}

/** The sync also knows of what is no key: indexes of modules, and commands that were meant for them. */
async function assertNothingLeftOut({ request, context }: Precondition): Promise<void> {
  const sync = await context.siblings.state('sync');
  if (sync === undefined || request.route === 'native') return;
  assertNothingSkipped(sync.progress.skipped ?? [], request, 'The sync');
}

/**
 * Refuses a cutover without data that nobody has agreed to lose.
 *
 * @throws data-skipped
 */
export function assertNothingSkipped(
  skipped: readonly SkippedCount[],
  { allowSkipped = false }: Pick<JobRequestOf<'cutover'>, 'allowSkipped'>,
  who: string,
): void {
  const rows = notAgreedTo(skipped);
  if (rows.length === 0 || allowSkipped) return;
  const shown = rows
    .slice(0, ROWS_SHOWN_MAX)
    .map(({ what, reason, count }) => `${formatCount(count)} ${SKIPPED_WORDS[what]} (${reason})`);
  const more = rows.length > shown.length ? ' and more' : '';
  throw new MigrationError('data-skipped', `${who} left out ${shown.join(', ')}${more}.`);
}

const ROWS_SHOWN_MAX = 5;
const SKIPPED_WORDS = { keys: 'keys', commands: 'commands', 'module-data': 'data sets' } as const;

async function assertSyncLive({ context }: Precondition): Promise<void> {
  const sync = await context.siblings.state('sync');
  if (sync?.status !== 'running') {
    const what = sync === undefined ? 'There is no sync.' : `The sync is not running: it is ${sync.status}.`;
    throw new MigrationError('sync-not-running', what);
  }
  if (sync.progress.stage !== 'live') {
    throw new MigrationError(
      'sync-behind',
      `The sync is not live yet: it is at the stage ${sync.progress.stage}.`,
    );
  }
}

async function assertLinkUp({ target }: Precondition): Promise<void> {
  const info = await readServerInfo(target);
  if (isLinkUp(info)) return;
  const role = info.fields.get('role') ?? 'unknown';
  const link = info.fields.get('master_link_status') ?? 'none';
  const detail = `role ${role}, link to a master: ${link}`;
  throw new MigrationError(
    role === 'slave' ? 'sync-behind' : 'sync-not-running',
    `The target ${target.access.address} does not replicate from the source (${detail}).`,
  );
}
