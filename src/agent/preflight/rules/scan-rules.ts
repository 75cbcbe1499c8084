import type { JobRequestOf } from '../../../contract/jobs.ts';
import { describeMissing, NOTIFY_SETTING, readNotifications } from '../../scan/notifications.ts';
import { planTuning, SCAN_SETTINGS } from '../../tune/plan.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';

type ScanRule = (
  source: SourceFacts,
  request: Pick<JobRequestOf<'preflight'>, 'route' | 'tuneSource' | 'sourceBytesPerSecondMax'>,
) => Ruling | undefined;

/** Whether the source can be read by scanning, and tells of every change; of interest where PSYNC is not to be had. */
export const SCAN_RULES: readonly ScanRule[] = [judgeReads, judgeNotifications, judgeTuning];

/** Whether a sync would choose this route, or was told to. */
export function isScanInPlay(
  { replication }: Pick<SourceFacts, 'replication'>,
  { route }: Pick<JobRequestOf<'preflight'>, 'route'>,
): boolean {
  return route === 'scan' || (route === 'auto' && replication.state === 'denied');
}

function judgeReads({ scan: { reads } }: SourceFacts): Ruling | undefined {
  const denied = reads.flatMap(({ command, permission }) => (permission.state === 'denied' ? [command] : []));
  if (denied.length === 0) return undefined;
  return block('source-permission-denied', {
    title: 'Permissions for the route scan at the source',
    detail: `The user may not run ${denied.join(', ')}.`,
    routes: ['scan'],
  });
}

function judgeNotifications(source: SourceFacts, request: Parameters<ScanRule>[1]): Ruling | undefined {
  const title = 'Keyspace notifications of the source';
  const { setting, canary } = source.scan;
  const shown = setting === undefined ? undefined : `${NOTIFY_SETTING} is "${setting}"`;
  const missing = setting === undefined ? undefined : describeMissing(readNotifications(setting));
  if (missing !== undefined) {
    return block('notifications-missing', { title, detail: `${shown}: ${missing}.`, routes: ['scan'] });
  }
  if (canary?.state === 'heard') {
    const unheard = describeMissing(canary);
    if (unheard !== undefined) {
      const detail = `Commands on the key \`__valkey-migrate__\` were listened for: ${unheard}.`;
      return block('notifications-missing', { title, detail, routes: ['scan'] });
    }
    return pass('notifications', {
      title,
      detail: 'Those of commands on a key of ours arrived, of every type.',
    });
  }
  if (!isScanInPlay(source, request)) return undefined;
  if (shown !== undefined) return pass('notifications', { title, detail: `${shown}.` });
  return warn('notifications-unknown', {
    title,
    detail: `The setting ${NOTIFY_SETTING} could not be read, and no canary was sent${canary === undefined ? '' : `: ${canary.detail}`}.`,
    remedy: `Make sure that ${NOTIFY_SETTING} is \`EA\` at least, or give \`canary-write: true\` to preflight.`,
  });
}

/** Says what tune-source sets or would set. */
function judgeTuning(source: SourceFacts, request: Parameters<ScanRule>[1]): Ruling | undefined {
  if (!isScanInPlay(source, request)) return undefined;
  const title = 'Settings of the source for the sync';
  const isWanted = request.tuneSource ?? false;
  const { tunables, load } = source;
  const why = whyUntuned(source);
  if (tunables === undefined || why !== undefined) {
    if (!isWanted) return pass('source-tuning', { title, detail: `They stay as they are: ${why}` });
    return warn('source-tuning-denied', {
      title,
      detail: `tune-source has no effect, the sync goes on without: ${why}`,
      remedy: 'Leave out `tune-source`.',
    });
  }
  const { sourceBytesPerSecondMax } = request;
  const { settings, left } = planTuning({
    values: tunables,
    load,
    sourceBytesPerSecondMax,
    only: SCAN_SETTINGS,
  });
  const sets = isWanted ? 'The sync sets, and restores afterwards:' : 'With tune-source the sync would set:';
  const changes = settings.map(
    ({ name, before, set, reason }) => `${name} from "${before}" to "${set}" (${reason})`,
  );
  const kept = left.map(({ name, reason }) => `${name} stays (${reason})`);
  const detail =
    changes.length > 0
      ? `${sets} ${changes.join('; ')}.`
      : `Nothing to set${kept.length > 0 ? `: ${kept.join('; ')}` : ''}.`;
  return pass('source-tuning', { title, detail });
}

function whyUntuned({ tunables, tuning, cluster }: SourceFacts): string | undefined {
  if (cluster !== undefined) return 'it is in cluster mode.';
  if (tuning.state === 'denied') return tuning.detail;
  return tunables === undefined ? 'CONFIG GET is denied.' : undefined;
}
