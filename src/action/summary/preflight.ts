import type { Finding, RouteVerdict } from '../../contract/finding.ts';
import type { PreflightReport, ServerFacts } from '../../contract/reports.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';
import type { PhaseBody, Section } from './document.ts';
import {
  type Block,
  code,
  details,
  heading,
  leftColumns,
  type Phrase,
  prose,
  type Span,
  span,
  strong,
  table,
} from './markdown.ts';
import type { PreflightView } from './views.ts';

const FINDINGS_MAX = 100;
const DATABASES_MAX = 64;
const REASONS_MAX = 10;
const ENGINE_NAMES = { redis: 'Redis', valkey: 'Valkey' } as const;

/** The findings, the worst first, the choice of route with its reasons, and the two servers side by side. */
export function preflightBody(view: PreflightView): PhaseBody {
  const { report } = view;
  if (report === undefined) return { sections: [] };
  return { verdict: verdict(report), sections: preflightSections(report) };
}

/** The sections of a preflight report, also for the phase that makes the same checks again before it starts. */
export function preflightSections(report: PreflightReport): Section[] {
  const open = findingsOf(report, 'fail').concat(findingsOf(report, 'warn'));
  const passed = findingsOf(report, 'pass');
  return [
    { weight: 'main', blocks: open.length === 0 ? [] : [openTable(open)] },
    { weight: 'main', blocks: [routeTable(report)] },
    { weight: 'main', blocks: serverBlocks(report) },
    { weight: 'detail', blocks: passed.length === 0 ? [] : [passedDetails(passed)] },
    { weight: 'detail', blocks: [databaseDetails(report)] },
  ];
}

function verdict(report: PreflightReport): Span {
  const failed = findingsOf(report, 'fail').length;
  const warned = findingsOf(report, 'warn').length;
  const checks = `${formatCount(report.findings.length)} checks: ${formatCount(failed)} failed, ${formatCount(warned)} to look at`;
  if (failed > 0) return span`**Not ready.** ${checks}.`;
  if (report.route === undefined) return span`**Not ready: no route serves.** ${checks}.`;
  return span`**Ready on the ${code(report.route)} route.** ${checks}.`;
}

function findingsOf(report: PreflightReport, status: Finding['status']): Finding[] {
  return report.findings.filter((finding) => finding.status === status);
}

function openTable(findings: readonly Finding[]): Block {
  return table({
    columns: leftColumns('', 'Check', 'Found', 'What to do'),
    items: findings,
    cells: (finding) => [
      finding.status === 'fail' ? '❌' : '⚠️',
      strong(finding.title),
      prose(finding.detail),
      prose(finding.remedy),
    ],
    maxRows: FINDINGS_MAX,
  });
}

function passedDetails(findings: readonly Finding[]): Block {
  return details(`${formatCount(findings.length)} checks passed`, [
    table({
      columns: leftColumns('', 'Check', 'Found'),
      items: findings,
      cells: (finding) => ['✅', finding.title, prose(finding.detail)],
      maxRows: FINDINGS_MAX,
    }),
  ]);
}

function routeTable(report: PreflightReport): Block | undefined {
  if (report.verdicts.length === 0) return undefined;
  return table({
    columns: leftColumns('Route', 'Serves', 'Why'),
    items: report.verdicts,
    cells: (verdict) => [code(verdict.route), serves(verdict, report), reasons(verdict)],
    maxRows: FINDINGS_MAX,
  });
}

function serves(verdict: RouteVerdict, report: PreflightReport): Phrase {
  if (!verdict.usable) return '❌ no';
  return verdict.route === report.route ? span`✅ **chosen**` : '✅ yes';
}

function reasons(verdict: RouteVerdict): Phrase {
  return prose(verdict.reasons.slice(0, REASONS_MAX).join('; '));
}

function serverBlocks(report: PreflightReport): Block[] {
  const { source, target } = report;
  if (source === undefined && target === undefined) return [];
  const pair = (name: string, value: (server: ServerFacts) => Phrase): Phrase[] => [
    name,
    source === undefined ? '–' : value(source),
    target === undefined ? '–' : value(target),
  ];
  const items = [
    pair('Address', (server) => code(server.address)),
    pair('Server', (server) => `${ENGINE_NAMES[server.kind]} ${server.version}`),
    pair('Role', (server) => server.role),
    pair('Keys', (server) => formatCount(keyCount(server))),
    pair('Memory', memory),
    pair('Latency', (server) => latency(server.latencyMs)),
  ];
  return [
    heading(3, 'Servers'),
    table({
      columns: leftColumns('', 'Source', 'Target'),
      items,
      cells: (row) => row,
      maxRows: items.length,
    }),
  ];
}

function keyCount(server: ServerFacts): number {
  return server.databases.reduce((sum, database) => sum + database.keys, 0);
}

function memory(server: ServerFacts): string {
  const used = formatBytes(server.usedMemoryBytes);
  return server.maxMemoryBytes > 0 ? `${used} of ${formatBytes(server.maxMemoryBytes)}` : `${used}, no limit`;
}

function latency(latencyMs: number): string {
  return latencyMs < 1 ? 'below 1 ms' : formatDuration(latencyMs);
}

function databaseDetails(report: PreflightReport): Block | undefined {
  const numbers = [...(report.source?.databases ?? []), ...(report.target?.databases ?? [])].map(
    ({ db }) => db,
  );
  const databases = [...new Set(numbers)].sort((a, b) => a - b);
  if (databases.length < 2) return undefined;
  const keysOf = (server: ServerFacts | undefined, db: number) =>
    formatCount(server?.databases.find((database) => database.db === db)?.keys ?? 0);
  return details(`Keys in ${formatCount(databases.length)} databases`, [
    table({
      columns: ['Database', 'Source', 'Target'].map((title) => ({ title, align: 'right' })),
      items: databases,
      cells: (db) => [String(db), keysOf(report.source, db), keysOf(report.target, db)],
      maxRows: DATABASES_MAX,
    }),
  ]);
}
