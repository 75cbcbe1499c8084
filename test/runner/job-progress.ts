import { join } from 'node:path';
import type { Place } from './built-in-actions.ts';
import type { Contexts, Scope, Status } from './expressions.ts';
import type { MaskedLog } from './masked-log.ts';
import type { Workflow, WorkflowJob } from './workflow.ts';

/** A job that may begin. */
export type JobStart = {
  readonly workflow: Workflow;
  readonly job: WorkflowJob;
  /** `github`, `inputs`, `needs`, `secrets`, `vars` and `job`. */
  readonly contexts: Contexts;
  readonly place: Omit<Place, 'workspace'>;
  /** A folder of its own. */
  readonly directory: string;
  /** What every process of the job has in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Folders of actions, by `owner/name`. */
  readonly actions: Readonly<Record<string, string>>;
  readonly log: MaskedLog;
  readonly cancel: AbortSignal;
};

/** What became of a step; `outcome` is before `continue-on-error`, `conclusion` after it. */
export type StepRun = {
  readonly outcome: Status;
  readonly conclusion: Status;
  readonly outputs: Readonly<Record<string, string>>;
};

/** What the steps of a job share and change. */
export type Progress = {
  status: Status;
  env: Record<string, string>;
  path: readonly string[];
  summary: string;
  readonly steps: Record<string, StepRun>;
  /** What actions have left to be done when all steps are over. */
  readonly posts: (() => Promise<void>)[];
};

/** Where the steps of the job begin. */
export function workspaceOf({ directory }: JobStart): string {
  return join(directory, 'workspace');
}

/** `runner.temp` */
export function tempOf({ directory }: JobStart): string {
  return join(directory, 'temp');
}

/** What an expression of a step sees now. */
export function scopeOf(start: JobStart, { status, env, steps }: Progress): Scope {
  const job = { ...Object(start.contexts.job), status };
  const runner = { temp: tempOf(start), os: 'Linux', arch: 'X64', name: 'local', environment: 'self-hosted' };
  return { contexts: { ...start.contexts, job, runner, env, steps, strategy: {}, matrix: {} }, status };
}
