import { mkdir } from 'node:fs/promises';
import { evaluateTexts, evaluateToken, holds, type Status, textOf } from './expressions.ts';
import { type JobStart, type Progress, type StepRun, scopeOf, tempOf, workspaceOf } from './job-progress.ts';
import { runStep, type StepOutcome } from './run-step.ts';
import type { WorkflowStep } from './workflow.ts';

/** What became of a job. */
export type JobRun = {
  readonly result: Status;
  readonly outputs: Readonly<Record<string, string>>;
  /** By the ids of the steps. */
  readonly steps: Readonly<Record<string, StepRun>>;
  readonly summary: string;
};

/** Runs the steps of a job one after the other, and in the end what its actions have left to be done. */
export async function runJob(start: JobStart): Promise<JobRun> {
  const { workflow, job, contexts } = start;
  await mkdir(workspaceOf(start), { recursive: true });
  await mkdir(tempOf(start), { recursive: true });
  const before = { contexts, status: 'success' } as const;
  const progress: Progress = {
    status: 'success',
    env: { ...evaluateTexts(workflow.env, before), ...evaluateTexts(job.env, before) },
    path: [],
    summary: '',
    steps: {},
    posts: [],
  };
  for (const step of job.steps) await takeStep(start, progress, step);
  for (const post of progress.posts.toReversed()) await post();
  return {
    result: progress.status,
    outputs: evaluateTexts(job.outputs, scopeOf(start, progress)),
    steps: progress.steps,
    summary: progress.summary,
  };
}

async function takeStep(start: JobStart, progress: Progress, step: WorkflowStep): Promise<void> {
  const { log, job, cancel } = start;
  if (cancel.aborted) progress.status = 'cancelled';
  const scope = scopeOf(start, progress);
  const isRun = holds(step.if, scope);
  log.write(
    `== ${job.id}: ${textOf(evaluateToken(step.name, scope)) || step.id}${isRun ? '' : ' (skipped)'}`,
  );
  const { outcome, outputs } = isRun ? await runStep(start, progress, step) : SKIPPED;
  const conclusion = outcome === 'failure' && step.continueOnError ? 'success' : outcome;
  progress.steps[step.id] = { outcome, conclusion, outputs };
  if (conclusion === 'failure') progress.status = cancel.aborted ? 'cancelled' : 'failure';
}

const SKIPPED: StepOutcome = { outcome: 'skipped', outputs: {} };
