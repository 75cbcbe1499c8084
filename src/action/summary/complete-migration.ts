import type { CutoverReport } from '../../contract/reports.ts';
import { formatCount, formatDuration } from '../../core/units.ts';
import type { PhaseBody, Section } from './document.ts';
import { type Block, code, details, facts, heading, instant, list, type Span, span } from './markdown.ts';
import { skippedCounts } from './skipped.ts';
import { eventSection } from './sync-progress.ts';
import { verificationSections, verificationVerdict } from './verify.ts';
import type { CompleteMigrationView } from './views.ts';

/** The proof of the cutover and the endpoint that the applications need next. */
export function completeMigrationBody(view: CompleteMigrationView): PhaseBody {
  const { report } = view;
  const next = view.result === 'passed' ? nextSteps(view) : [];
  return {
    verdict: verdict(view),
    sections: [
      { weight: 'main', blocks: [endpointTable(view)] },
      { weight: 'main', blocks: next },
      { weight: 'main', blocks: report === undefined ? [] : [heading(3, 'Proof'), proofTable(report)] },
      ...(report === undefined ? [] : proofSections(report)),
      eventSection(view.nativeEvents),
    ],
  };
}

function verdict({ result, report }: CompleteMigrationView): Span | undefined {
  if (result === 'failed') return failedVerdict(report);
  if (report === undefined) return span`**The target has taken over.**`;
  const { verification } = report;
  const proof =
    verification.differences.total === 0
      ? `${formatCount(verification.keysCompared)} keys proved equal`
      : `${formatCount(verification.keysCompared)} keys compared, ${formatCount(verification.differences.total)} differences allowed`;
  const left = skippedCounts(verification.skipped);
  const without = left === undefined ? '' : `, ${left} left out`;
  return span`**The target has taken over.** ${proof}${without}; writes paused for ${formatDuration(report.writePauseMs)}.`;
}

/** A proof that passed must not read like a cutover that passed. */
function failedVerdict(report: CutoverReport | undefined): Span | undefined {
  if (report === undefined) return undefined;
  const found = verificationVerdict(report.verification);
  return report.verification.passed ? span`**Not handed over**, although the proof passed. ${found}` : found;
}

function endpointTable({ endpoints }: CompleteMigrationView): Block | undefined {
  if (endpoints === undefined) return undefined;
  const { primary, reader, engineVersion } = endpoints;
  return facts({
    title: 'Target',
    rows: [
      ['Primary endpoint', primary === undefined ? undefined : code(primary)],
      ['Reader endpoint', reader === undefined ? undefined : code(reader)],
      ['Engine', engineVersion],
    ],
  });
}

function nextSteps({ endpoints }: CompleteMigrationView): Block[] {
  const primary = endpoints?.primary;
  const items = [
    primary === undefined
      ? span`Point the applications at the primary endpoint of the target.`
      : span`Point the applications at ${code(primary)}.`,
    span`Keep the source fenced until every application has moved: it is not followed any more, so what is written there is lost.`,
    span`Watch errors, latency and memory of the target for a day; keep the source and the backup that long.`,
    span`Run \`phase: cleanup\` to remove the agent and its state from the host, then retire the source.`,
  ];
  return [
    heading(3, 'Next steps'),
    list({ items, show: (step) => step, maxItems: items.length, style: 'numbers' }),
  ];
}

function proofTable(report: CutoverReport): Block {
  const { verification } = report;
  return facts({
    title: 'Cutover',
    rows: [
      ['Fenced at', instant(report.fencedAtMs)],
      ['Fence', code(report.fence)],
      ['Write pause', pause(report)],
      ...placeRows(report),
      ['Keys verified', formatCount(verification.keysCompared)],
      ['Differences', formatCount(verification.differences.total)],
      ['Left out', skippedCounts(verification.skipped)],
    ],
  });
}

/** On the route `scan` a place is a time. */
function placeRows(report: CutoverReport): [string, Span | string][] {
  if (report.route === 'scan') return [['Target has all until', instant(report.targetOffset)]];
  return [
    ['Replication id', code(report.sourceReplid)],
    ['Offset at source', formatCount(report.sourceOffset)],
    ['Offset at target', targetOffset(report)],
  ];
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
function targetOffset({ sourceOffset, targetOffset }: CutoverReport): string {
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
