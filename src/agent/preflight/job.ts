import type { PreflightReport } from '../../contract/reports.ts';
import { isMigrationError, type MigrationError } from '../../core/errors.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { chooseRoute } from './route-choice.ts';
import { NATIVE_GROUP_RULES, NATIVE_SOURCE_RULES } from './rules/native-rules.ts';
import { PAIR_RULES } from './rules/pair-rules.ts';
import { REPLICATION_RULES } from './rules/replication-rules.ts';
import { isScanInPlay, SCAN_RULES } from './rules/scan-rules.ts';
import { SOURCE_RULES } from './rules/source-rules.ts';
import { TARGET_RULES } from './rules/target-rules.ts';
import { WAY_BACK_RULES } from './rules/way-back-rules.ts';
import { block, type Ruling } from './ruling.ts';
import { gatherSourceFacts, type SourceFacts } from './source-facts.ts';
import { gatherTargetFacts, type TargetServerFacts } from './target-facts.ts';

type Request = Parameters<Job<'preflight'>>[0];

/**
 * Looks at both servers, judges what it found by the rules, and chooses the route.
 *
 * A side that cannot be examined is a failing finding with the code of its error, and the other side is still
 * examined. Changes nothing but, when asked, one key of its own on the target, and on a source that is to be scanned.
 */
export const runPreflight: Job<'preflight'> = async (request, context) => {
  context.report({ ...NO_PROGRESS, stage: 'source' });
  const source = await examine(() => gatherSource(request, context));
  context.report({ ...NO_PROGRESS, stage: 'target' });
  const target = await examine(() => gatherTarget(request, context, source.facts));
  const rulings = judge({ request, context, source, target });
  const { route, verdicts, findings } = chooseRoute(rulings, request.route);
  const failures = findings.filter(({ status }) => status === 'fail').map(({ code }) => code);
  context.log(`route ${route ?? 'none'}; ${failures.length === 0 ? 'nothing fails' : failures.join(', ')}`);
  return toReport({ findings, route, verdicts, source: source.facts?.server, target: target.facts?.server });
};

/** The facts of a side, or why there are none. */
type Examined<Facts> =
  | { readonly facts: Facts; readonly error?: undefined }
  | { readonly facts?: undefined; readonly error: MigrationError };

async function examine<Facts>(gather: () => Promise<Facts>): Promise<Examined<Facts>> {
  try {
    return { facts: await gather() };
  } catch (error) {
    if (!isMigrationError(error)) throw error;
    return { error };
  }
}

async function gatherSource(
  { source, route, canaryWrite, reverse }: Request,
  context: JobContext,
): Promise<SourceFacts> {
  const access = await resolveAccess('source', source, context.resolveSecret);
  return gatherSourceFacts(access, { ...context, route, canaryWrite, reverse });
}

async function gatherTarget(
  { target, canaryWrite, reverse = false }: Request,
  { resolveSecret, signal }: JobContext,
  source: SourceFacts | undefined,
): Promise<TargetServerFacts> {
  const highestDb = Math.max(0, ...(source?.databases.map(({ db }) => db) ?? []));
  return gatherTargetFacts(await resolveAccess('target', target, resolveSecret), {
    canaryWrite,
    reverse,
    highestDb,
    isSourceCluster: source?.cluster !== undefined,
    signal,
  });
}

function judge(examination: {
  request: Request;
  context: JobContext;
  source: Examined<SourceFacts>;
  target: Examined<TargetServerFacts>;
}): Ruling[] {
  const { request, context, source, target } = examination;
  const rulings: (Ruling | undefined)[] = [];
  if (source.facts === undefined) rulings.push(unexamined('Source', source.error));
  else {
    const { facts } = source;
    rulings.push(...SOURCE_RULES.map((rule) => rule(facts)));
    if (!isScanInPlay(facts, request)) {
      rulings.push(...REPLICATION_RULES.map((rule) => rule(facts, request)));
    }
    rulings.push(...SCAN_RULES.map((rule) => rule(facts, request)));
    rulings.push(...NATIVE_SOURCE_RULES.map((rule) => rule(facts, request)));
  }
  if (target.facts === undefined) rulings.push(unexamined('Target', target.error));
  else {
    const { facts } = target;
    rulings.push(...TARGET_RULES.map((rule) => rule(facts, { request, migration: context })));
  }
  rulings.push(...NATIVE_GROUP_RULES.map((rule) => rule(request)));
  if (source.facts !== undefined && target.facts !== undefined) {
    const pair = { source: source.facts, target: target.facts, request };
    rulings.push(...PAIR_RULES.map((rule) => rule(pair)));
    if (request.reverse === true) rulings.push(...WAY_BACK_RULES.map((rule) => rule(pair)));
  }
  return rulings.filter((ruling) => ruling !== undefined);
}

function unexamined(title: string, { code, message, remedy }: MigrationError): Ruling {
  return block(code, { title, detail: message, remedy });
}

function toReport(found: {
  findings: PreflightReport['findings'];
  route: PreflightReport['route'];
  verdicts: PreflightReport['verdicts'];
  source: PreflightReport['source'];
  target: PreflightReport['target'];
}): PreflightReport {
  const { findings, route, verdicts, source, target } = found;
  return {
    kind: 'preflight',
    findings,
    verdicts,
    ...(route === undefined ? {} : { route }),
    ...(source === undefined ? {} : { source }),
    ...(target === undefined ? {} : { target }),
  };
}
