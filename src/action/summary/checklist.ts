import type { SourceTuning } from '../../contract/host-commands.ts';
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
};

const STEPS_MAX = 20;
const NAMES_MAX = 6;
/** How the words for a fence that ends by itself begin. */
const PAUSE = 'CLIENT PAUSE';

/** What is left to do after a hand-over, each step only where what was found calls for it. */
export function checklist(found: HandOver): Block[] {
  const steps = [
    moveStep(found),
    stragglerStep(found),
    fenceStep(found),
    ...(found.setup === undefined ? [] : setupSteps(found.setup)),
    tuningStep(found),
    span`Run \`phase: cleanup\`, which removes the state of this migration from the host; then retire the source.`,
  ].filter((step) => step !== undefined);
  return [
    heading(3, 'Next steps'),
    list({ items: steps, show: (step) => step, maxItems: STEPS_MAX, style: 'numbers' }),
  ];
}

function moveStep({ source, primary, reader, setup }: HandOver): Span {
  const from = source === undefined ? span`` : span` in place of ${code(source)}`;
  const to = primary === undefined ? span`the primary endpoint of the target` : code(primary);
  const readers = reader === undefined ? span`` : span`, those that only read at ${code(reader)}`;
  const tls = setup?.transitEncryption === true ? span`, with TLS` : span``;
  return span`Point the applications at ${to}${from}${tls}${readers}.`;
}

/** Who was connected in the last look at the source has to move yet. */
function stragglerStep({ stragglers }: HandOver): Span | undefined {
  const groups = stragglers?.clients.groups ?? [];
  const writing = groups.filter(({ writes }) => writes);
  const left = writing.length > 0 ? writing : groups;
  if (left.length === 0) return undefined;
  // Of those that are not listed nobody knows whether they write.
  const unlisted = writing.length > 0 ? 0 : (stragglers?.clients.more ?? 0);
  const more = unlisted + Math.max(0, left.length - NAMES_MAX);
  const names = left.slice(0, NAMES_MAX).map(({ address }) => code(address));
  const who = more > 0 ? span`${joined(names, ', ')} and ${formatCount(more)} more` : joined(names, ', ');
  return writing.length > 0
    ? span`Move ${who} first: they still wrote to the source, which refused it.`
    : span`Move ${who} too: they were still connected to the source.`;
}

function fenceStep({ fence }: HandOver): Span | undefined {
  if (fence === undefined) return undefined;
  const lost = 'what is written there then is lost, because the target does not follow it any more';
  if (!fence.method.startsWith(PAUSE)) {
    return span`Leave the fence at the source (${code(fence.method)}) until they have moved: ${lost}.`;
  }
  return span`Stop or move what writes to the source within 24 hours of ${instant(fence.sinceMs)}: ${code(fence.method)} ends by itself, and ${lost}.`;
}

/** What of the target is not as a target in use should be, or can only be changed from now on. */
function setupSteps(setup: TargetSetup): (Span | undefined)[] {
  const { replicationGroupId: id, memberClusters, parameterGroup, eventTopic } = setup;
  return [
    setup.transitEncryption
      ? undefined
      : span`Encryption in transit is off and can be switched on now without a new group: ${code(`aws elasticache modify-replication-group --replication-group-id ${id} --transit-encryption-enabled --transit-encryption-mode preferred --apply-immediately`)}, then the mode \`required\` when every application connects with TLS.`,
    setup.accessControl
      ? undefined
      : span`Anybody who reaches the target may use it: give the group a user group${setup.transitEncryption ? '' : ', which needs encryption in transit'}.`,
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
