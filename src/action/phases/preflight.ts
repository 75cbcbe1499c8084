// Reads:   the replication group, the source, the target, the protection of the cutover environment.
// Changes: nothing; with canary-write one key of ours on the target, deleted again.
// Repeat:  as often as you like.
// Undo:    nothing to undo.
import type { Finding } from '../../contract/finding.ts';
import type { PreflightReport } from '../../contract/reports.ts';
import { ERROR_CODES, type ErrorCode } from '../../core/error-codes.ts';
import { MigrationError } from '../../core/errors.ts';
import { describeTarget, type Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import { optional } from '../input-readers.ts';
import type { InputsOf } from '../inputs.ts';
import { examineGate } from './gate.ts';
import { runHostJob } from './host-job.ts';
import type { RunPhase, World } from './phase.ts';
import { requireAvailable, targetEndpoint, targetFacts } from './target-endpoint.ts';

/** Looks at everything that a migration needs before anything is changed, and chooses the route. */
export const preflight: RunPhase<'preflight'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  requireAvailable(target);
  const gate = await examineGate(inputs.gate, world);
  const host = await world.openHost(inputs);
  const report = await examine({ inputs, world, host, target, canaryWrite: inputs.canaryWrite });
  // Preflight runs as a step of its own as well, where nothing is cut over: a gate that is not named is only mentioned.
  const shown: Finding = inputs.gate.environment === undefined ? { ...gate, status: 'warn' } : gate;
  const whole = { ...report, findings: [...report.findings, shown] };
  found.part({ report: whole });
  if (whole.route !== undefined) {
    found.route(whole.route);
    found.outputs({ route: whole.route });
  }
  refuseFailures(whole);
};

/** Lets the host look at both servers. */
export async function examine({
  inputs,
  world,
  host,
  target,
  canaryWrite,
}: {
  inputs: InputsOf<'preflight' | 'start-migration'>;
  world: World;
  host: Host;
  target: Target;
  canaryWrite: boolean;
}): Promise<PreflightReport> {
  const nativeSourceHost = nativeSourceAddress(inputs, host)?.host;
  const outcome = await runHostJob(
    { inputs, world, host },
    {
      kind: 'preflight',
      source: inputs.source,
      target: targetEndpoint(target, inputs),
      route: inputs.route,
      targetFacts: targetFacts(target),
      ...(nativeSourceHost === undefined ? {} : { nativeSourceHost }),
      allowNativeRdbVersion: inputs.allowNativeRdbVersion,
      canaryWrite,
      flushTarget: inputs.flushTarget,
      tuneSource: inputs.tuneSource,
      ...optional('sourceBytesPerSecondMax', inputs.sourceBytesPerSecondMax),
      hashFieldTtl: inputs.hashFieldTtl,
      ...(inputs.reverse ? { reverse: true } : {}),
    },
  );
  if (outcome.error !== undefined) throw outcome.error;
  return outcome.report;
}

/** Where ElastiCache finds the source: loopback is another machine for it. */
export function nativeSourceAddress(
  { source, nativeSourceAddress: given }: InputsOf<'preflight' | 'start-migration'>,
  host: Host,
): { host: string; port: number } | undefined {
  if (given !== undefined) return given;
  const isLoopback = /^(127\.|localhost$|::1$)/.test(source.host);
  const address = isLoopback ? host.privateAddress() : source.host;
  return address === undefined ? undefined : { host: address, port: source.port };
}

/**
 * Fails when a finding fails; the error is that of the first, and the message names the others.
 *
 * A mistake in the inputs comes first, then what rules the route out: it stands whatever is done about the rest.
 *
 * @throws the code of the finding
 */
export function refuseFailures({ findings }: PreflightReport): void {
  const failures = findings.filter(({ status }) => status === 'fail');
  const first =
    failures.find(({ code }) => code.startsWith('input-')) ??
    failures.find(({ code }) => code.startsWith('route-')) ??
    failures[0];
  if (first === undefined) return;
  const others = failures.filter((finding) => finding !== first).map(({ code }) => code);
  const also = others.length > 0 ? ` (These findings fail too: ${others.join(', ')}.)` : '';
  throw new MigrationError(failureCode(first), `${first.detail}${also}`, { remedy: first.remedy });
}

function failureCode({ code }: Finding): ErrorCode {
  const isErrorCode = (word: string): word is ErrorCode => word in ERROR_CODES;
  return isErrorCode(code) ? code : 'internal';
}
