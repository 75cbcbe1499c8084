import type { SourceTuning } from '../../contract/host-commands.ts';
import type { JobState } from '../../contract/job-state.ts';
import type { StragglersReport } from '../../contract/reports.ts';
import { formatCount } from '../../core/units.ts';
import { type Block, code, heading, instant, joined, list, type Span, span } from './markdown.ts';
import type { FenceState, TargetSetup } from './views.ts';

/** What is known of a migration that is handed over; what is not known leaves its steps out. */
export type HandOver = {
  /** `host:port`, as the migration reached it. */
  readonly source?: string | undefined;
  readonly primary?: string | undefined;
  readonly reader?: string | undefined;
  readonly setup?: TargetSetup | undefined;
  readonly fence?: FenceState | undefined;
  readonly stragglers?: StragglersReport | undefined;
  readonly tuning?: SourceTuning | undefined;
  /** The sync of the way back that is kept. */
  readonly wayBack?: JobState | undefined;
};

/** The same of a way back that was gone: its source is the target that the applications leave. */
export type HandBack = Pick<HandOver, 'source' | 'primary' | 'fence' | 'stragglers'>;

const STEPS_MAX = 20;
const NAMES_MAX = 6;
/** How the words for a fence that ends by itself begin. */
const PAUSE = 'CLIENT PAUSE';

/** What is left to do after a hand-over, each step only where what was found calls for it. */
export function checklist(found: HandOver): Block[] {
  return numbered([
    moveStep(found),
    stragglerStep(found, 'source'),
    found.wayBack === undefined ? fenceStep(found) : wayBackFenceStep(found),
    ...(found.setup === undefined ? [] : setupSteps(found.setup, found.wayBack !== undefined)),
    tuningStep(found),
    ...(found.wayBack === undefined ? [] : wayBackSteps(found.wayBack)),
    span`Run \`phase: cleanup\`, which removes the state of this migration from the host; then retire the source.`,
  ]);
}

/** What is left to do when the applications go back to the source. */
export function checklistBack(found: HandBack): Block[] {
  const { source, primary } = found;
  const from = source === undefined ? span`` : span` in place of ${code(source)}`;
  const to = primary === undefined ? span`the source` : code(primary);
  return numbered([
    span`Point the applications at ${to}${from} again: it takes writes, with the users and settings that it had before the migration.`,
    stragglerStep(found, 'target'),
    fenceBackStep(found),
    span`Run \`phase: cleanup\`, which removes the state of the migration and of its way back from the host; then retire the target, or migrate to it again with \`flush-target: true\`.`,
  ]);
}

function numbered(steps: readonly (Span | undefined)[]): Block[] {
  const items = steps.filter((step) => step !== undefined);
  return [
    heading(3, 'Next steps'),
    list({ items, show: (step) => step, maxItems: STEPS_MAX, style: 'numbers' }),
  ];
}

function moveStep({ source, primary, reader, setup }: HandOver): Span {
  const from = source === undefined ? span`` : span` in place of ${code(source)}`;
  const to = primary === undefined ? span`the primary endpoint of the target` : code(primary);
  const readers = reader === undefined ? span`` : span`, those that only read at ${code(reader)}`;
  const tls = setup?.transitEncryption === true ? span`, with TLS` : span``;
  return span`Point the applications at ${to}${from}${tls}${readers}.`;
}

/** Who was connected in the last look at the server that is left has to move yet. */
function stragglerStep(
  { stragglers }: Pick<HandOver, 'stragglers'>,
  left: 'source' | 'target',
): Span | undefined {
  const groups = stragglers?.clients.groups ?? [];
  const writing = groups.filter(({ writes }) => writes);
  const shown = writing.length > 0 ? writing : groups;
  if (shown.length === 0) return undefined;
  // Of those that are not listed nobody knows whether they write.
  const unlisted = writing.length > 0 ? 0 : (stragglers?.clients.more ?? 0);
  const more = unlisted + Math.max(0, shown.length - NAMES_MAX);
  const names = shown.slice(0, NAMES_MAX).map(({ address }) => code(address));
  const who = more > 0 ? span`${joined(names, ', ')} and ${formatCount(more)} more` : joined(names, ', ');
  return writing.length > 0
    ? span`Move ${who} first: they still wrote to the ${left}, which ${left === 'source' ? 'refused it' : 'takes no writes any more'}.`
    : span`Move ${who} too: they were still connected to the ${left}.`;
}

function fenceStep({ fence }: HandOver): Span | undefined {
  if (fence === undefined) return undefined;
  const lost = 'what is written there then is lost, because the target does not follow it any more';
  if (!fence.method.startsWith(PAUSE)) {
    return span`Leave the fence at the source (${code(fence.method)}) until they have moved: ${lost}.`;
  }
  return span`Stop or move what writes to the source within 24 hours of ${instant(fence.sinceMs)}: ${code(fence.method)} ends by itself, and ${lost}.`;
}

/** Behind it the way back writes, and nobody else may. */
function wayBackFenceStep({ fence }: HandOver): Span | undefined {
  if (fence === undefined) return undefined;
  return span`Leave the fence at the source (${code(fence.method)}) as long as the way back is kept: where it did not hold, going back is refused.`;
}

function fenceBackStep({ fence }: HandBack): Span | undefined {
  if (fence === undefined) return undefined;
  const lost = 'what is written there then is lost, because the source does not follow it any more';
  if (!fence.method.startsWith(PAUSE)) {
    return span`Leave the fence at the target (${code(fence.method)}) until they have moved: ${lost}.`;
  }
  return span`Stop or move what writes to the target right away: ${code(fence.method)} lets it wait, ends within 24 hours of ${instant(fence.sinceMs)} or with a failover, and ${lost}.`;
}

/** What there is to do with a way back until it is over. */
function wayBackSteps({ status }: JobState): Span[] {
  const keep =
    status === 'running'
      ? span`Look with \`phase: status\` now and then whether the way back is kept up.`
      : span`Run \`phase: start-migration\` with \`direction: reverse\`, which keeps the way back up again.`;
  return [
    keep,
    span`To go back, run \`verify\` and \`complete-migration\` with \`direction: reverse\`. When nobody wants to any more, give the way back up: \`phase: rollback\` with \`direction: reverse\`. Before, \`cleanup\` is refused.`,
  ];
}

/**
 * What of the target is not as a target in use should be, or can only be changed from now on. The sync of a way back
 * comes to it as the migration did, and is not to be locked out.
 */
function setupSteps(setup: TargetSetup, isWayBackKept: boolean): (Span | undefined)[] {
  const over = isWayBackKept ? span` and the way back is over` : span``;
  const { replicationGroupId: id, memberClusters, parameterGroup, eventTopic } = setup;
  return [
    setup.transitEncryption
      ? undefined
      : span`Encryption in transit is off and can be switched on now without a new group: ${code(`aws elasticache modify-replication-group --replication-group-id ${id} --transit-encryption-enabled --transit-encryption-mode preferred --apply-immediately`)}, then the mode \`required\` when every application connects with TLS${over}.`,
    setup.accessControl
      ? undefined
      : span`Anybody who reaches the target may use it: give the group a user group${setup.transitEncryption ? '' : ', which needs encryption in transit'}${isWayBackKept ? ', when the way back is over' : ''}.`,
    setup.automaticFailover && setup.multiAz ? undefined : failoverStep(setup),
    setup.snapshotRetentionDays === 0
      ? span`ElastiCache makes no snapshots of the target by itself: set a retention for the group.`
      : undefined,
    parameterGroup?.startsWith('default.') === true
      ? span`The parameter group ${code(parameterGroup)} is of AWS and cannot be changed: give the group one of your own where the source had settings that the applications rely on, such as \`maxmemory-policy\`.`
      : undefined,
    memberClusters.length === 0 ? undefined : alarmStep(memberClusters),
    eventTopic === ''
      ? span`ElastiCache tells nobody of failovers and maintenance: give the group an SNS topic.`
      : undefined,
  ];
}

function failoverStep({ multiAz, automaticFailover }: TargetSetup): Span {
  const off = [multiAz ? '' : 'Multi-AZ', automaticFailover ? '' : 'automatic failover'].filter(
    (name) => name !== '',
  );
  return span`Without ${off.join(' and ')} the target is away when its node is: enable ${off.length > 1 ? 'them' : 'it'}.`;
}

/** Alarms watch one node each, by its name. */
function alarmStep(memberClusters: readonly string[]): Span {
  const names = memberClusters.slice(0, NAMES_MAX).map(code);
  const cut = memberClusters.length - names.length;
  const nodes = cut > 0 ? span`${joined(names, ', ')} and ${formatCount(cut)} more` : joined(names, ', ');
  return span`Alarms on the source see nothing of the target: set those on memory, evictions, CPU and connections in CloudWatch for the \`CacheClusterId\` ${nodes}.`;
}

function tuningStep({ tuning }: HandOver): Span | undefined {
  if (tuning === undefined) return undefined;
  const names = tuning.settings.map(({ name }) => code(name));
  return span`Settings of the sync are still at the source and go back with \`phase: cleanup\`: ${joined(names, ', ')}.`;
}
