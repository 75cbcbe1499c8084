import type { JobRequestOf } from '../../../contract/jobs.ts';
import { describeMissing, NOTIFY_SETTING, readNotifications } from '../../scan/notifications.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';

type ScanRule = (
  source: SourceFacts,
  request: Pick<JobRequestOf<'preflight'>, 'route'>,
) => Ruling | undefined;

/** Whether the source can be read by scanning, and tells of every change; of interest where PSYNC is not to be had. */
export const SCAN_RULES: readonly ScanRule[] = [judgeReads, judgeNotifications];

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
