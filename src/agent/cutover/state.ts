import { join } from 'node:path';
import { z } from 'zod';
import { formatAddress } from '../../contract/endpoint.ts';
import type { JobRequestOf } from '../../contract/jobs.ts';
import { type CutoverReport, cutoverReportSchema } from '../../contract/reports.ts';
import { readJsonIfThere, removeIfThere, writeFileAtomically, writeFileOnce } from '../job/files.ts';

/*
 * Where a cutover is, in files of the migration's folder:
 *
 *   cutover.json             the step, by the cutover
 *   cutover-decision.json    what it comes to, by whoever is first: the cutover or the action decide to hand over, the
 *                            cutover or its keeper decide to lift the fence
 *   cutover-lease.json       native: until when the keeper leaves the fence to the action
 *   cutover-promotion.json   native: what became of a hand-over that was decided, by whoever is first: the action says
 *                            that it is completed, the keeper withdraws it when the action is gone and nothing promoted
 *
 * The decision is made once and never changed; only who begins anew, when nobody of the cutover before is left, removes
 * it. Without it, or when it says `lift`, the source is to take writes again, and the sync goes on. When it says
 * `hand-over` the cutover only goes forward, whoever does it; on the native route that is the action, which asks for a
 * promotion, and which may die before it does. A promotion that comes after a withdrawal loses nothing: the source has
 * taken writes all the time, and nobody was told that the target has taken over.
 */

const stepSchema = z.discriminatedUnion('step', [
  /** The source may be fenced; nothing is proved. */
  z.strictObject({ step: z.enum(['fencing', 'draining', 'proving']) }),
  /** Proved equal behind the fence; on the native route it is the action that decides. */
  z.strictObject({ step: z.literal('proved'), report: cutoverReportSchema }),
  /** The target has taken over (replica route; on the native route the promotion is the action's). */
  z.strictObject({ step: z.literal('completed'), report: cutoverReportSchema }),
  /** It had, and its fence fell before anybody was told: it is to be compared again, or given up. */
  z.strictObject({ step: z.literal('doubted'), report: cutoverReportSchema }),
]);
type KeptStep = z.infer<typeof stepSchema>;
/** Where a cutover is; `handing-over`: that is decided. */
export type CutoverStep = KeptStep | { readonly step: 'handing-over'; readonly report: CutoverReport };

const identitySchema = { route: z.string(), sourceAddress: z.string(), targetAddress: z.string() };
const stateSchema = z.strictObject({ ...identitySchema, current: stepSchema });
const decisionSchema = z.discriminatedUnion('decision', [
  z.strictObject({ decision: z.literal('lift') }),
  z.strictObject({ decision: z.literal('hand-over'), ...identitySchema, report: cutoverReportSchema }),
]);
const leaseSchema = z.strictObject({ untilMs: z.number() });
const promotionSchema = z.strictObject({ promotion: z.enum(['completed', 'withdrawn']) });
type Promotion = z.infer<typeof promotionSchema>['promotion'];
/** What a cutover comes to. */
export type CutoverDecision = z.infer<typeof decisionSchema>;

type CutoverRequest = Pick<JobRequestOf<'cutover'>, 'route' | 'source' | 'target'>;

/** Reads where an earlier run of this cutover was; undefined for none, or one of other servers. */
export function readCutoverStep(directory: string, request: CutoverRequest): CutoverStep | undefined {
  const step = readStep(directory);
  return step !== undefined && isSame(step, identityOf(request)) ? step.current : undefined;
}

/** What is decided; undefined as long as nothing is. */
export function readDecision(directory: string): CutoverDecision | undefined {
  const decided = decisionSchema.safeParse(readJsonIfThere(decisionPath(directory))).data;
  return readPromotion(directory) === 'withdrawn' ? { decision: 'lift' } : decided;
}

/** Whether a cutover, of whatever servers, has been proved and not been forgotten since. */
export function isCutoverProved(directory: string): boolean {
  const step = provedStep(directory);
  return step !== undefined && step !== 'doubted';
}

/** Where a cutover is that was proved; undefined before its proof, and for none. */
export function provedStep(directory: string): ProvedStep | undefined {
  const step = readStep(directory)?.current;
  return step !== undefined && 'report' in step ? step.step : undefined;
}

type ProvedStep = Extract<CutoverStep, { report: unknown }>['step'];

/** Whether the target was released behind a fence that has fallen since, and not been compared again. */
export function isCutoverDoubted(directory: string): boolean {
  return provedStep(directory) === 'doubted';
}

/** Whether the target was handed over by other means than a promotion, or is about to be: then only the fence protects. */
export function isHandedOverByUs(directory: string): boolean {
  const step = readStep(directory);
  return step !== undefined && step.route !== 'native' && isCutoverProved(directory);
}

/** Keeps where the cutover is, so that a run after a crash knows. */
export function writeCutoverStep(directory: string, request: CutoverRequest, current: KeptStep): void {
  writeFileAtomically(statePath(directory), `${JSON.stringify({ ...identityOf(request), current })}\n`);
}

/** Decides that the target takes over; false when the fence is being lifted instead. */
export function decideHandOver(directory: string, request: CutoverRequest, report: CutoverReport): boolean {
  return decide(directory, { decision: 'hand-over', ...identityOf(request), report }) === 'hand-over';
}

/** The same for what is proved and waits for the decision; false when nothing is. */
export function decideProved(directory: string): boolean {
  const step = readStep(directory);
  if (step?.current.step !== 'proved') return readDecision(directory)?.decision === 'hand-over';
  const { current, ...identity } = step;
  return decide(directory, { decision: 'hand-over', ...identity, report: current.report }) === 'hand-over';
}

/** Decides that the fence is lifted; false when the target takes over instead. */
export function decideLift(directory: string): boolean {
  return decide(directory, { decision: 'lift' }) === 'lift';
}

/** Takes back that the target has taken over, until that is decided anew. */
export function doubtCutover(directory: string, request: CutoverRequest, report: CutoverReport): void {
  writeCutoverStep(directory, request, { step: 'doubted', report });
  removeIfThere(decisionPath(directory));
}

/** Forgets the cutover: the next run starts over. A doubt stays, unless it is settled. */
export function forgetCutover(directory: string, { isDoubtSettled = false } = {}): void {
  if (isDoubtSettled || !isCutoverDoubted(directory)) removeIfThere(statePath(directory));
  removeIfThere(decisionPath(directory));
  removeIfThere(leasePath(directory));
  removeIfThere(promotionPath(directory));
}

/** Returns what is decided, now or before. */
function decide(directory: string, decision: CutoverDecision): CutoverDecision['decision'] | undefined {
  const isOurs = writeFileOnce(decisionPath(directory), `${JSON.stringify(decision)}\n`);
  return isOurs ? decision.decision : readDecision(directory)?.decision;
}

/** From the proof to the decision. */
const PROVED_LEASE_MS = 120_000;
/** Until ElastiCache has accepted the promotion; the action asks for no longer than a part of it. */
const DECIDED_LEASE_MS = 300_000;
/** Until the target is promoted, which takes minutes. */
const ACCEPTED_LEASE_MS = 900_000;
/** How long the keeper leaves the fence to the action, from its last sign of life on. */
export const PROMOTION_LEASES_MS = {
  proved: PROVED_LEASE_MS,
  decided: DECIDED_LEASE_MS,
  accepted: ACCEPTED_LEASE_MS,
} as const;

/** Leaves the fence to the action until then; a longer lease stays. */
export function grantLease(directory: string, untilMs: number): void {
  if (untilMs <= leaseUntilMs(directory)) return;
  writeFileAtomically(leasePath(directory), `${JSON.stringify({ untilMs })}\n`);
}

/** Until when the fence is left to the action; 0 where it never was. */
export function leaseUntilMs(directory: string): number {
  return leaseSchema.safeParse(readJsonIfThere(leasePath(directory))).data?.untilMs ?? 0;
}

/** Says that the promoted target has taken over; false when that was withdrawn. */
export function decideCompletion(directory: string): boolean {
  return settlePromotion(directory, 'completed') === 'completed';
}

/** Withdraws a hand-over whose action is gone; false when it was completed. */
export function withdrawHandOver(directory: string): boolean {
  return settlePromotion(directory, 'withdrawn') === 'withdrawn';
}

/** What became of a hand-over; undefined as long as the action is at it. */
export function readPromotion(directory: string): Promotion | undefined {
  return promotionSchema.safeParse(readJsonIfThere(promotionPath(directory))).data?.promotion;
}

function settlePromotion(directory: string, promotion: Promotion): Promotion | undefined {
  const isOurs = writeFileOnce(promotionPath(directory), `${JSON.stringify({ promotion })}\n`);
  return isOurs ? promotion : readPromotion(directory);
}

type Identity = Omit<z.infer<typeof stateSchema>, 'current'>;

function readStep(directory: string): (Identity & { readonly current: CutoverStep }) | undefined {
  const state = stateSchema.safeParse(readJsonIfThere(statePath(directory))).data;
  if (state?.current.step === 'completed') return state;
  const decided = readDecision(directory);
  if (decided?.decision !== 'hand-over') return state;
  const { decision: _, report, ...identity } = decided;
  // What was in doubt and compared again has nothing left to hand over.
  const step = state?.current.step === 'doubted' ? 'completed' : 'handing-over';
  return { ...identity, current: { step, report } };
}

function isSame(a: Identity, b: Identity): boolean {
  return a.route === b.route && a.sourceAddress === b.sourceAddress && a.targetAddress === b.targetAddress;
}

function statePath(directory: string): string {
  return join(directory, 'cutover.json');
}

function decisionPath(directory: string): string {
  return join(directory, 'cutover-decision.json');
}

function leasePath(directory: string): string {
  return join(directory, 'cutover-lease.json');
}

function promotionPath(directory: string): string {
  return join(directory, 'cutover-promotion.json');
}

function identityOf({ route, source, target }: CutoverRequest): Identity {
  return { route, sourceAddress: formatAddress(source), targetAddress: formatAddress(target) };
}
