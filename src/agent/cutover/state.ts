import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { formatAddress } from '../../contract/endpoint.ts';
import type { JobRequestOf } from '../../contract/jobs.ts';
import { cutoverReportSchema } from '../../contract/reports.ts';
import { readJsonIfThere, writeFileAtomically } from '../job/files.ts';

const stepSchema = z.discriminatedUnion('step', [
  /** The source may be fenced; nothing is decided. A new run lifts the fence and starts over. */
  z.strictObject({ step: z.enum(['fencing', 'draining', 'proving']) }),
  /** Proved equal behind the fence: from here on the cutover only goes forward. */
  z.strictObject({ step: z.literal('handing-over'), report: cutoverReportSchema }),
  /** The target has taken over (replica route; on the native route the promotion is the action's). */
  z.strictObject({ step: z.literal('completed'), report: cutoverReportSchema }),
]);
/** Where a cutover is. */
export type CutoverStep = z.infer<typeof stepSchema>;

const stateSchema = z.strictObject({
  route: z.string(),
  sourceAddress: z.string(),
  targetAddress: z.string(),
  current: stepSchema,
});

type CutoverRequest = Pick<JobRequestOf<'cutover'>, 'route' | 'source' | 'target'>;

/** Reads where an earlier run of this cutover was; undefined for none, or one of other servers. */
export function readCutoverStep(directory: string, request: CutoverRequest): CutoverStep | undefined {
  const state = stateSchema.safeParse(readJsonIfThere(statePath(directory))).data;
  if (state === undefined) return undefined;
  const { current, ...identity } = state;
  return JSON.stringify(identity) === JSON.stringify(identityOf(request)) ? current : undefined;
}

/** Whether a cutover, of whatever servers, has been proved and not been forgotten since. */
export function isCutoverProved(directory: string): boolean {
  const state = stateSchema.safeParse(readJsonIfThere(statePath(directory))).data;
  return state?.current.step === 'handing-over' || state?.current.step === 'completed';
}

/** Whether the replica route has handed over, or was about to: then the sync may be gone, and only the fence protects. */
export function isHandedOverToReplica(directory: string): boolean {
  const state = stateSchema.safeParse(readJsonIfThere(statePath(directory))).data;
  return state?.route === 'replica' && isCutoverProved(directory);
}

/** Keeps where the cutover is, so that a run after a crash knows. */
export function writeCutoverStep(directory: string, request: CutoverRequest, current: CutoverStep): void {
  const state: z.infer<typeof stateSchema> = { ...identityOf(request), current };
  writeFileAtomically(statePath(directory), `${JSON.stringify(state)}\n`);
}

/** Forgets the cutover: the next run starts over. */
export function forgetCutover(directory: string): void {
  rmSync(statePath(directory), { force: true });
}

function statePath(directory: string): string {
  return join(directory, 'cutover.json');
}

function identityOf({ route, source, target }: CutoverRequest) {
  return { route, sourceAddress: formatAddress(source), targetAddress: formatAddress(target) };
}
