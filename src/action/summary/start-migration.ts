import type { PhaseBody, Section } from './document.ts';
import { type Span, span } from './markdown.ts';
import { preflightSections } from './preflight.ts';
import { eventSection, syncSections, syncVerdict } from './sync-progress.ts';
import type { StartMigrationView } from './views.ts';

/** How far the copy is, its course as a chart, and the checks that stopped it where they did. */
export function startMigrationBody(view: StartMigrationView): PhaseBody {
  return {
    verdict: verdict(view),
    sections: [
      ...failedChecks(view),
      ...syncSections(view.sync, view.report),
      eventSection(view.nativeEvents),
    ],
  };
}

function verdict(view: StartMigrationView): Span | undefined {
  if (view.sync !== undefined) return syncVerdict(view.sync);
  if (view.result === 'failed') return undefined;
  return span`**Live.** ElastiCache has copied the data, and the target follows the source as its replica.`;
}

function failedChecks({ preflight }: StartMigrationView): Section[] {
  const findings = preflight?.findings.filter((finding) => finding.status !== 'pass') ?? [];
  if (preflight === undefined || findings.length === 0) return [];
  return preflightSections({ ...preflight, findings });
}
