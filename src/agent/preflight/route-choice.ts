import type { Finding, Route, RouteVerdict } from '../../contract/finding.ts';
import { ERROR_CODES } from '../../core/error-codes.ts';
import { EVERY_ROUTE, type Ruling } from './ruling.ts';

/** What the rulings come to. */
export type RouteChoice = {
  /** Undefined when the asked route, or every route, is ruled out. */
  readonly route: Route | undefined;
  readonly verdicts: RouteVerdict[];
  readonly findings: Finding[];
};

/**
 * Chooses the route: the asked one, or for `auto` the first usable one, `native` before `replica`, since it leaves
 * the copying to ElastiCache, and `scan` last, since it costs the source the most and sees the least.
 *
 * What rules out only a route that nobody asked for is no failure: it is a reason in that route's verdict.
 */
export function chooseRoute(rulings: readonly Ruling[], asked: Route | 'auto'): RouteChoice {
  const verdicts = EVERY_ROUTE.map((route) => judge(route, rulings));
  const wanted = asked === 'auto' ? EVERY_ROUTE : [asked];
  const route = wanted.find((candidate) =>
    verdicts.some((verdict) => verdict.route === candidate && verdict.usable),
  );
  const findings = rulings.flatMap((ruling) => toFindings(ruling, wanted));
  if (route === undefined && !findings.some(({ status }) => status === 'fail')) {
    findings.push(noRoute(verdicts));
  }
  return { route, verdicts, findings };
}

function judge(route: Route, rulings: readonly Ruling[]): RouteVerdict {
  const reasons = rulings.flatMap((ruling) =>
    ruling.status === 'block' && ruling.routes.includes(route) ? [`${ruling.title}: ${ruling.detail}`] : [],
  );
  return reasons.length > 0
    ? { route, usable: false, reasons }
    : { route, usable: true, reasons: ['Nothing rules it out.'] };
}

function toFindings(ruling: Ruling, wanted: readonly Route[]): Finding[] {
  const { code, title, detail, remedy } = ruling;
  if (ruling.status !== 'block') return [{ code, status: ruling.status, title, detail, remedy }];
  const fails = wanted.every((route) => ruling.routes.includes(route));
  return fails ? [{ code, status: 'fail', title, detail, remedy }] : [];
}

function noRoute(verdicts: readonly RouteVerdict[]): Finding {
  return {
    code: 'route-none',
    status: 'fail',
    title: 'Route',
    detail: verdicts.map(({ route, reasons }) => `${route}: ${reasons.join(' ')}`).join(' '),
    remedy: ERROR_CODES['route-none'].remedy,
  };
}
