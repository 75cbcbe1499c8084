import type { Difference, DifferenceListFile, VerifyReport } from '../../contract/reports.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';

/** Differences that a shell shows; the list on the host has all. */
const DIFFERENCES_SHOWN_MAX = 20;

/** A verification in words for somebody at a shell: the verdict first. Names are ASCII, as the report has them. */
export function describeVerification(report: VerifyReport): string {
  const { differences, keysCompared, startedAtMs, finishedAtMs } = report;
  const took = formatDuration(finishedAtMs - startedAtMs);
  const lines = [
    `${verdictOf(report)}: ${formatCount(keysCompared)} keys compared in both directions, ${formatCount(differences.total)} differences`,
    `  ${report.sourceAddress} with ${report.targetAddress}, ${new Date(finishedAtMs).toISOString()}, took ${took}`,
    ...differences.byKind.map(({ kind, count }) => `  ${kind}: ${formatCount(count)}`),
    ...differences.listed.slice(0, DIFFERENCES_SHOWN_MAX).map(describeOne),
    ...notesOf(report).map((note) => `  ${note}`),
  ];
  return lines.join('\n');
}

function verdictOf({ differences, passed }: VerifyReport): string {
  if (differences.total === 0) return 'EQUAL';
  return passed ? 'DIFFERENT, as far as allowed' : 'DIFFERENT';
}

function describeOne({ db, key, type, kind, detail }: Difference): string {
  return `    ${db < 0 ? '' : `db${db} `}${type} ${key}: ${kind}: ${detail}`;
}

function notesOf({ differences, inFlight, skipped, list, repair }: VerifyReport): string[] {
  const more = differences.total - Math.min(differences.listed.length, DIFFERENCES_SHOWN_MAX);
  return [
    ...(more > 0 ? [`and ${formatCount(more)} more`] : []),
    ...(list === undefined ? [] : [describeList(list)]),
    ...(inFlight > 0 ? [`${formatCount(inFlight)} keys were in flight and settled equal`] : []),
    ...skipped.map(
      ({ reason, count }) => `skipped, neither equal nor different: ${formatCount(count)} (${reason})`,
    ),
    ...(repair === undefined
      ? []
      : [
          `repaired: ${formatCount(repair.before.total)} differences before; ${formatCount(repair.rewritten)} written anew, ` +
            `${formatCount(repair.removed)} removed`,
          ...repair.failures.map(({ reason, count }) => `not repaired: ${formatCount(count)}, ${reason}`),
        ]),
  ];
}

function describeList({ path, keys, bytes, keysCut = 0, cutBecause }: DifferenceListFile): string {
  const size = `${path}, ${formatCount(keys)} keys, ${formatBytes(bytes)}`;
  if (cutBecause === undefined) return `all that differ: ${size}`;
  return `those that differ: ${size}; ${formatCount(keysCut)} are not in it: ${cutBecause}`;
}
