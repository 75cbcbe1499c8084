import { assertNever } from '../../core/assert.ts';
import { formatDuration } from '../../core/units.ts';
import { backupBody } from './backup.ts';
import { cleanupBody } from './cleanup.ts';
import { completeMigrationBody } from './complete-migration.ts';
import { assembleSummary, type PhaseBody, type Section, SUMMARY_BYTES_MAX } from './document.ts';
import { failureAlert } from './failure.ts';
import {
  alert,
  type Block,
  code,
  heading,
  instant,
  joined,
  list,
  type Phrase,
  paragraph,
  prose,
  type Span,
  span,
} from './markdown.ts';
import { preflightBody } from './preflight.ts';
import { rollbackBody } from './rollback.ts';
import { startMigrationBody } from './start-migration.ts';
import { statusBody } from './status.ts';
import { verifyBody } from './verify.ts';
import type { PhaseHead, PhaseView } from './views.ts';

const WARNINGS_MAX = 20;

const TITLES = {
  preflight: 'Preflight',
  backup: 'Backup',
  'start-migration': 'Start migration',
  status: 'Status',
  verify: 'Verify',
  'complete-migration': 'Complete migration',
  rollback: 'Rollback',
  cleanup: 'Cleanup',
} as const satisfies Record<PhaseView['phase'], string>;

/** The job summary of a phase: GitHub Markdown below {@link SUMMARY_BYTES_MAX} bytes, with the verdict in its first lines. */
export function renderSummary(view: PhaseView): string {
  const body = bodyOf(view);
  const head: Section = {
    weight: 'main',
    blocks: [
      heading(2, title(view)),
      body.verdict === undefined ? undefined : paragraph(body.verdict),
      view.error === undefined ? undefined : failureAlert(view.error),
      warningsAlert(view.warnings),
      paragraph(origin(view)),
    ],
  };
  return assembleSummary([head, ...body.sections], { maxBytes: SUMMARY_BYTES_MAX });
}

function bodyOf(view: PhaseView): PhaseBody {
  switch (view.phase) {
    case 'preflight':
      return preflightBody(view);
    case 'backup':
      return backupBody(view);
    case 'start-migration':
      return startMigrationBody(view);
    case 'status':
      return statusBody(view);
    case 'verify':
      return verifyBody(view);
    case 'complete-migration':
      return completeMigrationBody(view);
    case 'rollback':
      return rollbackBody(view);
    case 'cleanup':
      return cleanupBody(view);
    default:
      return assertNever(view);
  }
}

function title(view: PhaseView): Phrase {
  // A look that succeeded says nothing good or bad of what it saw.
  if (view.phase === 'status' && view.result === 'passed') return span`ℹ️ Status`;
  return view.result === 'passed'
    ? span`✅ ${TITLES[view.phase]} passed`
    : span`❌ ${TITLES[view.phase]} failed`;
}

function warningsAlert(warnings: readonly string[]): Block | undefined {
  if (warnings.length === 0) return undefined;
  return alert('WARNING', [list({ items: warnings, show: prose, maxItems: WARNINGS_MAX, style: 'bullets' })]);
}

/** One line on whose migration this is, by which way, from where, and when. */
function origin(head: PhaseHead): Span {
  const parts: Phrase[] = [span`Migration ${code(head.migrationId)}`];
  if (head.replicationGroupId !== head.migrationId) {
    parts.push(span`replication group ${code(head.replicationGroupId)}`);
  }
  if (head.route !== undefined) parts.push(span`route ${code(head.route)}`);
  parts.push(span`host ${code(head.host)}`, instant(head.startedAtMs));
  parts.push(span`took ${formatDuration(head.finishedAtMs - head.startedAtMs)}`);
  return joined(parts, ' · ');
}
