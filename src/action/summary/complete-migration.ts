import {
  CLIENTS_LISTED_MAX,
  type ClientList,
  type CutoverReport,
  type VerifyReport,
} from '../../contract/reports.ts';
import { formatCount, formatDuration } from '../../core/units.ts';
import { checklist, checklistBack } from './checklist.ts';
import type { PhaseBody, Section } from './document.ts';
import {
  type Block,
  code,
  details,
  facts,
  heading,
  instant,
  joined,
  leftColumns,
  type Phrase,
  paragraph,
  type Span,
  span,
  table,
} from './markdown.ts';
import { skippedCounts } from './skipped.ts';
import { eventSection } from './sync-progress.ts';
import { verificationSections, verificationVerdict } from './verify.ts';
import type { Approval, CompleteMigrationView } from './views.ts';

/** The proof of the cutover and the endpoint that the applications need next. */
export function completeMigrationBody(view: CompleteMigrationView): PhaseBody {
  const { report } = view;
  const next = view.result === 'passed' ? nextSteps(view) : [];
  return {
    verdict: verdict(view),
    sections: [
      { weight: 'main', blocks: [directionNote(view), endpointTable(view)] },
      { weight: 'main', blocks: next },
      { weight: 'main', blocks: wayBackBlocks(view) },
      { weight: 'main', blocks: stragglerBlocks(view) },
      { weight: 'main', blocks: report === undefined ? [] : [heading(3, 'Proof'), proofTable(report, view)] },
      ...(report === undefined ? [] : proofSections(report)),
      { weight: 'detail', blocks: report === undefined ? [] : shardBlocks(report) },
      { weight: 'detail', blocks: clientBlocks(report) },
      eventSection(view.nativeEvents),
    ],
  };
}

function verdict({ result, report, isWayBack }: CompleteMigrationView): Span | undefined {
  if (result === 'failed') return failedVerdict(report);
  const who =
    isWayBack === true
      ? span`**The old source has taken over again.**`
      : span`**The target has taken over.**`;
  if (report === undefined) return who;
  const { verification } = report;
  const { base, keysCompared, differences } = verification;
  const equal =
    base === undefined
      ? `${formatCount(keysCompared)} keys proved equal`
      : `${formatCount(base.keysCompared)} keys proved equal, the ${formatCount(keysCompared)} that changed since behind the fence`;
  const proof =
    differences.total === 0
      ? equal
      : `${formatCount(keysCompared)} keys compared, ${formatCount(differences.total)} differences allowed`;
  const left = skippedCounts(verification.skipped);
  const without = left === undefined ? '' : `, ${left} left out`;
  return span`${who} ${proof}${without}; writes paused for ${formatDuration(report.writePauseMs)}.`;
}

/** Of a proof that goes on from a full verification: both numbers. */
function keysVerified({ base, keysCompared }: VerifyReport): string {
  if (base === undefined) return formatCount(keysCompared);
  return `${formatCount(base.keysCompared)} in full, ${formatCount(keysCompared)} that changed since behind the fence`;
}

/** A proof that passed must not read like a cutover that passed. */
function failedVerdict(report: CutoverReport | undefined): Span | undefined {
  if (report === undefined) return undefined;
  const found = verificationVerdict(report.verification);
  return report.verification.passed ? span`**Not handed over**, although the proof passed. ${found}` : found;
}

/** A way back is a migration of its own, in which the two servers have changed places. */
function directionNote({ isWayBack, source }: CompleteMigrationView): Block | undefined {
  if (isWayBack !== true) return undefined;
  const left = source === undefined ? span`` : span`, ${code(source)}`;
  return paragraph(
    span`Going back, **source** is what the applications leave${left}, and **target** is where they came from, the old source.`,
  );
}

function endpointTable({ endpoints, isWayBack }: CompleteMigrationView): Block | undefined {
  if (endpoints === undefined) return undefined;
  const { primary, reader, engineVersion } = endpoints;
  return facts({
    title: isWayBack === true ? 'Old source' : 'Target',
    rows: [
      ['Primary endpoint', primary === undefined ? undefined : code(primary)],
      ['Reader endpoint', reader === undefined ? undefined : code(reader)],
      ['Engine', engineVersion],
    ],
  });
}

/** What keeps the way back that was begun. */
function wayBackBlocks({ wayBack }: CompleteMigrationView): Block[] {
  if (wayBack === undefined) return [];
  const how =
    wayBack.status === 'running'
      ? span`✅ What is written to the target reaches the source, which is fenced for everybody else: its sync is ${code(wayBack.progress.stage)}.`
      : span`❌ It is not kept: its sync is ${code(wayBack.status)}.`;
  return [heading(3, 'Way back'), paragraph(how)];
}

function nextSteps(view: CompleteMigrationView): Block[] {
  const { endpoints, source, setup, report, stragglers, wayBack, isWayBack } = view;
  const fence = report === undefined ? undefined : { method: report.fence, sinceMs: report.fencedAtMs };
  const { primary, reader } = endpoints ?? {};
  if (isWayBack === true) return checklistBack({ source, primary, fence, stragglers });
  return checklist({ source, primary, reader, setup, fence, stragglers, wayBack });
}

function proofTable(report: CutoverReport, { proof }: CompleteMigrationView): Block {
  const { verification } = report;
  return facts({
    title: 'Cutover',
    rows: [
      ['Approved by', approvers(proof?.approvals)],
      ['Fenced at', instant(report.fencedAtMs)],
      ['Fence', code(report.fence)],
      ['Write pause', pause(report)],
      ...placeRows(report),
      ['Keys verified', keysVerified(verification)],
      ['Differences', formatCount(verification.differences.total)],
      ['Left out', skippedCounts(verification.skipped)],
      ['Tool', proof === undefined ? undefined : span`valkey-migrate ${proof.toolVersion}`],
      ['Agent', proof === undefined ? undefined : code(`sha256:${proof.agentSha256}`)],
    ],
  });
}

/** On the route `scan` a place is a time. */
function placeRows(report: CutoverReport): [string, Span | string][] {
  if (report.route === 'scan') return [['Target has all until', instant(report.targetOffset)]];
  const { sourceShards } = report;
  if (sourceShards !== undefined) {
    return [
      ['Shards of the source', formatCount(sourceShards.length)],
      ['Offsets at source', `${formatCount(report.sourceOffset)} together`],
      ['Offsets at target', targetOffset(report)],
    ];
  }
  return [
    ['Replication id', code(report.sourceReplid)],
    ['Offset at source', formatCount(report.sourceOffset)],
    ['Offset at target', targetOffset(report)],
  ];
}

/** Where each shard of a source in cluster mode was behind its fence, and the target with it. */
function shardBlocks({ sourceShards }: CutoverReport): Block[] {
  if (sourceShards === undefined) return [];
  const shards = table({
    columns: [
      ...leftColumns('Slots', 'Address', 'Replication id'),
      { title: 'Offset at source', align: 'right' },
      { title: 'Offset at target', align: 'right' },
    ],
    items: sourceShards,
    cells: (shard) => [
      code(shard.slots.slice(0, SLOTS_SHOWN_MAX)),
      code(shard.sourceAddress),
      code(shard.sourceReplid),
      formatCount(shard.sourceOffset),
      targetOffset(shard),
    ],
    maxRows: SHARDS_SHOWN_MAX,
  });
  return [details('The shards of the source behind the fence', [shards])];
}

const SLOTS_SHOWN_MAX = 60;
const SHARDS_SHOWN_MAX = 32;

function approvers(approvals: readonly Approval[] | undefined): Phrase | undefined {
  if (approvals === undefined) return undefined;
  if (approvals.length === 0) return '⚠️ nobody';
  const names = approvals.slice(0, APPROVALS_MAX).map(({ by, environments }) => {
    return environments.length === 0 ? code(by) : span`${code(by)} for ${code(environments.join(', '))}`;
  });
  return joined(names, ', ');
}

const APPROVALS_MAX = 10;

/** Who came to the source after the target had taken over. */
function stragglerBlocks({ stragglers }: CompleteMigrationView): Block[] {
  if (stragglers === undefined) return [];
  const { clients, refusedWrites, watchedMs } = stragglers;
  const writing = clients.groups.filter(({ writes }) => writes).length;
  const refused = refusedWrites === undefined ? '' : `; ${formatCount(refusedWrites)} writes were refused`;
  const seen =
    clients.groups.length === 0
      ? 'nobody was connected to the source any more'
      : `${writing === 0 ? '✅ nobody' : `⚠️ ${formatCount(writing)} of those that were connected`} still wrote to the source`;
  return [
    heading(3, 'Stragglers'),
    paragraph(`In ${formatDuration(watchedMs)} ${seen}${refused}.`),
    ...(clients.groups.length === 0 ? [] : [clientTable(clients)]),
  ];
}

/** Who was connected before: these are the applications that have to move. */
function clientBlocks(report: CutoverReport | undefined): Block[] {
  const clients = report?.clients;
  if (clients === undefined || clients.groups.length === 0) return [];
  return [details('Clients of the source before the fence', [clientTable(clients)])];
}

function clientTable({ groups, more }: ClientList): Block {
  return table({
    columns: [
      ...leftColumns('Address', 'User', 'Name'),
      { title: 'Connections', align: 'right' },
      ...leftColumns('Last command', 'Writes'),
    ],
    items: groups,
    cells: ({ address, user, name, connections, lastCommand, writes }) => [
      code(address),
      user === '' ? '' : code(user),
      name === '' ? '' : code(name),
      formatCount(connections),
      code(lastCommand),
      writes ? 'yes' : '',
    ],
    maxRows: CLIENTS_LISTED_MAX,
    totalItems: groups.length + more,
  });
}

function pause(report: CutoverReport): string {
  const steps = [
    `${formatDuration(report.drainDurationMs)} drain`,
    `${formatDuration(report.proofDurationMs)} proof`,
    ...(report.settleDurationMs > 0 ? [`${formatDuration(report.settleDurationMs)} expiry times`] : []),
  ];
  const parts = steps.join(', ');
  return `${formatDuration(report.writePauseMs)} (${parts})`;
}

/** A target that is ahead has seen everything too: the source goes on sending PINGs behind the fence. */
function targetOffset({
  sourceOffset,
  targetOffset,
}: Pick<CutoverReport, 'sourceOffset' | 'targetOffset'>): string {
  const ahead = targetOffset - sourceOffset;
  if (ahead < 0) return `${formatCount(targetOffset)} ❌ ${formatCount(-ahead)} behind`;
  return `${formatCount(targetOffset)} ✅ ${ahead === 0 ? 'the same' : `${formatCount(ahead)} further on`}`;
}

function proofSections({ verification }: CutoverReport): Section[] {
  const sections = verificationSections(verification);
  if (verification.differences.total + verification.skipped.length > 0) return sections;
  const blocks = sections.flatMap((section) => section.blocks);
  return [{ weight: 'detail', blocks: [details('The verification behind the fence', blocks)] }];
}
