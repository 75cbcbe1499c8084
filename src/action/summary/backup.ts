import { formatCount, formatDuration } from '../../core/units.ts';
import type { PhaseBody } from './document.ts';
import { type Block, code, facts, instant, type Phrase, type Span, span } from './markdown.ts';
import type { BackupView } from './views.ts';

/** The proof of the RDB file at the source and the snapshot of the target. */
export function backupBody(view: BackupView): PhaseBody {
  return {
    verdict: verdict(view),
    sections: [{ weight: 'main', blocks: [sourceTable(view), snapshotTable(view)] }],
  };
}

function verdict({ report, snapshot, result }: BackupView): Span | undefined {
  const made: Phrase[] = [];
  if (report !== undefined)
    made.push(span`the source wrote ${formatCount(report.keys)} keys to its RDB file`);
  if (snapshot !== undefined) made.push(span`snapshot ${code(snapshot.name)} is ${snapshot.status}`);
  const [first, second] = made;
  if (first === undefined)
    return result === 'passed' ? span`**Nothing to back up** was asked for.` : undefined;
  const state = result === 'passed' ? span`**Backed up:**` : span`**Not complete:**`;
  return second === undefined ? span`${state} ${first}.` : span`${state} ${first}, ${second}.`;
}

function sourceTable({ report }: BackupView): Block | undefined {
  if (report === undefined) return undefined;
  return facts({
    title: 'Source',
    rows: [
      ['RDB file', report.rdbPath === undefined ? 'path not readable' : code(report.rdbPath)],
      ['Keys', formatCount(report.keys)],
      ['Saved', instant(report.lastSaveAfterMs)],
      ['Save before this one', instant(report.lastSaveBeforeMs)],
      ['Took', formatDuration(report.durationMs)],
    ],
  });
}

function snapshotTable({ snapshot }: BackupView): Block | undefined {
  if (snapshot === undefined) return undefined;
  return facts({
    title: 'Target',
    rows: [
      ['Snapshot', code(snapshot.name)],
      ['Status', snapshot.status],
    ],
  });
}
