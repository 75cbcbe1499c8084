import type { PreflightReport, StragglersReport, VerifyReport } from '../../contract/reports.ts';
import type { SkippedCount } from '../../contract/skipped.ts';
import type { ErrorRecord } from '../../core/errors.ts';
import { formatCount } from '../../core/units.ts';
import { plainLine } from './foreign-text.ts';
import { skippedCounts } from './skipped.ts';
import { DIFFERENCE_KIND_WORDS } from './verify.ts';
import type { PhaseView } from './views.ts';

/** GitHub shows 10 annotations of each level per step. */
export const ANNOTATIONS_PER_LEVEL_MAX = 10;
/** GitHub cuts a message there. */
export const ANNOTATION_CHARACTERS_MAX = 4096;
const TITLE_CHARACTERS_MAX = 200;
/** More differences than this belong into the report, not beside the code. */
const DIFFERENCES_ANNOTATED_MAX = 3;

/** A remark that GitHub shows above the job; plain text of one line. */
export type Annotation = {
  readonly level: 'error' | 'warning' | 'notice';
  readonly title: string;
  readonly message: string;
};

/**
 * What of a phase must be seen without opening the summary: its error, failing findings and differences as errors,
 * warnings as warnings, the new endpoint as a notice.
 */
export function annotationsOf(view: PhaseView): Annotation[] {
  const all = [
    ...(view.error === undefined ? [] : [ofError(view.error)]),
    ...ofPhase(view),
    ...view.warnings.map((message) => annotation('warning', `${view.phase}: warning`, message)),
  ];
  return [...bounded(all, 'error'), ...bounded(all, 'warning'), ...bounded(all, 'notice')];
}

function ofPhase(view: PhaseView): Annotation[] {
  switch (view.phase) {
    case 'preflight':
      return view.report === undefined ? [] : ofFindings(view.report);
    case 'start-migration':
      return [
        ...(view.preflight === undefined ? [] : ofFindings(view.preflight)),
        ...ofSkipped(view.report?.skipped ?? view.sync?.progress.skipped),
      ];
    case 'verify':
      return view.report === undefined
        ? []
        : [...ofDifferences(view.report), ...ofSkipped(view.report.skipped)];
    case 'complete-migration': {
      const primary = view.result === 'passed' ? view.endpoints?.primary : undefined;
      return [
        ...(view.report === undefined ? [] : ofDifferences(view.report.verification)),
        ...ofSkipped(view.report?.verification.skipped),
        ...(primary === undefined ? [] : [annotation('notice', 'New primary endpoint', primary)]),
        ...ofStragglers(view.stragglers),
      ];
    }
    default:
      return [];
  }
}

function ofError(error: ErrorRecord): Annotation {
  return annotation('error', error.code, `${error.message} ${error.remedy}`);
}

function ofFindings(report: PreflightReport): Annotation[] {
  return report.findings.flatMap(({ status, title, detail, remedy }) =>
    status === 'pass'
      ? []
      : [annotation(status === 'fail' ? 'error' : 'warning', title, `${detail} ${remedy}`)],
  );
}

function ofDifferences(report: VerifyReport): Annotation[] {
  const { total, listed } = report.differences;
  if (total === 0) return [];
  const level = report.passed ? 'warning' : 'error';
  const sum = `${formatCount(total)} differences in ${formatCount(report.keysCompared)} keys, ${formatCount(report.maxDifferences)} allowed. The summary lists the first ones, the JSON report ${formatCount(listed.length)}${onHost(report)}.`;
  const first = listed
    .slice(0, DIFFERENCES_ANNOTATED_MAX)
    .map(({ db, key, type, kind, detail }) =>
      annotation(
        level,
        `Difference: ${DIFFERENCE_KIND_WORDS[kind]}`,
        `Database ${db}, ${type} ${key}: ${detail}`,
      ),
    );
  return [annotation(level, 'Source and target differ', sum), ...first];
}

function ofStragglers(report: StragglersReport | undefined): Annotation[] {
  const writing = report?.clients.groups.filter(({ writes }) => writes) ?? [];
  return writing.map(({ address, user, name, lastCommand, connections }) => {
    const who = [user === '' ? '' : `, user ${user}`, name === '' ? '' : `, name ${name}`].join('');
    const message = `${address}${who} still writes to the source, last with ${lastCommand}, over ${formatCount(connections)} connections. The source refuses it: point it at the target.`;
    return annotation('warning', 'Straggler', message);
  });
}

function onHost({ list }: VerifyReport): string {
  if (list === undefined) return '';
  const share = list.cutBecause === undefined ? 'all' : formatCount(list.keys);
  return `, a file on the host ${share}`;
}

function ofSkipped(skipped: readonly SkippedCount[] | undefined): Annotation[] {
  const counts = skippedCounts(skipped);
  if (skipped === undefined || counts === undefined) return [];
  const reasons = [...new Set(skipped.map(({ reason }) => reason))].join(', ');
  return [annotation('warning', 'Not carried over', `${counts} (${reasons}). The summary says more.`)];
}

function bounded(all: readonly Annotation[], level: Annotation['level']): Annotation[] {
  const ofLevel = all.filter((candidate) => candidate.level === level);
  if (ofLevel.length <= ANNOTATIONS_PER_LEVEL_MAX) return ofLevel;
  const kept = ofLevel.slice(0, ANNOTATIONS_PER_LEVEL_MAX - 1);
  const cut = formatCount(ofLevel.length - kept.length);
  return [...kept, annotation(level, `${cut} more`, `${cut} more of this level are in the job summary.`)];
}

function annotation(level: Annotation['level'], title: string, message: string): Annotation {
  return {
    level,
    title: plainLine(title, TITLE_CHARACTERS_MAX),
    message: plainLine(message, ANNOTATION_CHARACTERS_MAX).trim(),
  };
}
