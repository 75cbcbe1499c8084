import { join } from 'node:path';
import type { OidcStub } from '../simulator/oidc-stub.ts';
import { evaluateToken, holds, type Status, textOf } from './expressions.ts';
import { type MaskedLog, openMaskedLog } from './masked-log.ts';
import { type JobRun, runJob } from './run-job.ts';
import type { InputDefinition, Permissions, Trigger, Workflow, WorkflowJob } from './workflow.ts';

/** What a reviewer says. */
export type Review = 'approved' | 'rejected';

/** A run that is asked for. */
export type RunRequest = {
  readonly workflow: Workflow;
  /** Where the workflow lies: `job.workflow_repository` and the rest of it. */
  readonly source: { readonly repository: string; readonly sha: string; readonly path: string };
  /** Whose run it is; the caller of a workflow that is called. */
  readonly repository: string;
  readonly trigger: Trigger;
  readonly inputs: Readonly<Record<string, string | number | boolean>>;
  readonly secrets?: Readonly<Record<string, string>>;
  /** Answers for a job with an environment; where it has no reviewers, at once. */
  review(environment: string): Promise<Review>;
  readonly oidc: OidcStub;
  /** Makes `github.token` of a job. */
  issueToken(permissions: Permissions): string;
  /** What every process finds in its environment, such as the addresses of services. */
  readonly env: Readonly<Record<string, string>>;
  readonly actions: Readonly<Record<string, string>>;
  /** Where `source` is checked out. */
  readonly checkout: string;
  /** A folder for the jobs, and one for the artifacts, which all attempts share. */
  readonly directory: string;
  readonly artifacts: string;
  readonly cancel?: AbortSignal;
  /** Runs the jobs again that did not succeed then, and those that need them. */
  readonly previous?: WorkflowRun;
};

/** What became of a run. */
export type WorkflowRun = {
  readonly attempt: number;
  readonly jobs: Readonly<Record<string, JobRun>>;
  readonly conclusion: Status;
  /** What a caller gets. */
  readonly outputs: Readonly<Record<string, string>>;
  readonly log: readonly string[];
};

const ACTOR = 'octocat';
const BRANCH = 'refs/heads/main';
const NEVER = new AbortController().signal;
const UNRUN = { outputs: {}, steps: {}, summary: '' };

/**
 * Runs a workflow on this machine as GitHub would: jobs in the order of their needs, one at a time, each with the
 * permissions that it asks for, and behind the reviewers of its environment.
 *
 * Source: GitHub documentation, workflow syntax and contexts; actions/runner.
 */
export async function runWorkflow(request: RunRequest): Promise<WorkflowRun> {
  const { workflow, previous } = request;
  const inputs = readInputs(workflow.inputs[request.trigger], request.inputs);
  const log = openMaskedLog(Object.values(request.secrets ?? {}));
  const attempt = (previous?.attempt ?? 0) + 1;
  const jobs: Record<string, JobRun> = {};
  for (const job of inOrder(workflow.jobs)) {
    const before = previous?.jobs[job.id];
    const isDone = before?.result === 'success' && job.needs.every((id) => jobs[id] === previous?.jobs[id]);
    jobs[job.id] = isDone ? before : await takeJob(request, { job, jobs, inputs, log, attempt });
  }
  // A job that is skipped does not spoil a run.
  const conclusion = worst(
    Object.values(jobs)
      .map(({ result }) => result)
      .filter((result) => result !== 'skipped'),
  );
  const scope = { contexts: { jobs: shownJobs(jobs), inputs }, status: conclusion };
  const outputs = Object.entries(workflow.outputs).map(([name, value]) => [
    name,
    textOf(evaluateToken(value, scope)),
  ]);
  return { attempt, jobs, conclusion, outputs: Object.fromEntries(outputs), log: log.lines };
}

type Turn = {
  readonly job: WorkflowJob;
  readonly jobs: Readonly<Record<string, JobRun>>;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly log: MaskedLog;
  readonly attempt: number;
};

async function takeJob(request: RunRequest, turn: Turn): Promise<JobRun> {
  const { job, jobs, log, attempt, inputs } = turn;
  const { workflow, cancel = NEVER } = request;
  const permissions = job.permissions ?? workflow.permissions;
  const needed: Record<string, JobRun> = Object.fromEntries(
    job.needs.map((id) => [id, jobs[id] ?? { ...UNRUN, result: 'skipped' }]),
  );
  const contexts = {
    github: { ...githubFacts(request, attempt), job: job.id, token: request.issueToken(permissions) },
    inputs,
    needs: shownJobs(needed),
    secrets: request.secrets ?? {},
    vars: {},
    job: { workflow_repository: request.source.repository, workflow_sha: request.source.sha },
  };
  const status = cancel.aborted ? 'cancelled' : worst(Object.values(needed).map(({ result }) => result));
  if (!holds(job.if, { contexts, status }))
    return { ...UNRUN, result: cancel.aborted ? 'cancelled' : 'skipped' };
  const environment = textOf(evaluateToken(job.environment, { contexts, status }));
  if (environment !== '') {
    log.write(`== ${job.id}: waits for ${environment}`);
    const review = await Promise.race([request.review(environment), aborted(cancel)]);
    log.write(`== ${job.id}: ${review}`);
    if (review !== 'approved') return { ...UNRUN, result: review === 'rejected' ? 'failure' : 'cancelled' };
  }
  return runJob({
    workflow,
    job,
    contexts,
    log,
    // What begins in a run that was cancelled before, as it has `always()`, runs to its end.
    cancel: cancel.aborted ? NEVER : cancel,
    actions: request.actions,
    directory: join(request.directory, `${attempt}-${job.id}`),
    env: {
      ...request.env,
      ...defaultVariables(contexts.github),
      ...identityVariables(request, { permissions, environment, github: contexts.github }),
    },
    place: {
      artifacts: request.artifacts,
      permissions,
      repositories: { [`${request.source.repository}@${request.source.sha}`]: request.checkout },
    },
  });
}

/** What expressions see of jobs. */
function shownJobs(jobs: Readonly<Record<string, JobRun>>) {
  return Object.fromEntries(
    Object.entries(jobs).map(([id, { result, outputs }]) => [id, { result, outputs }]),
  );
}

/** The context `github`, as far as it is the same for all jobs. */
function githubFacts({ repository, trigger, workflow, source }: RunRequest, attempt: number) {
  return {
    repository,
    repository_owner: repository.split('/')[0] ?? '',
    actor: ACTOR,
    ref: BRANCH,
    sha: source.sha,
    // In a workflow that is called, the event is that of its caller.
    event_name: trigger === 'workflow_call' ? 'workflow_dispatch' : trigger,
    workflow: workflow.name,
    run_id: '1',
    run_number: '1',
    run_attempt: String(attempt),
  };
}

/** Source: GitHub documentation, default environment variables. */
function defaultVariables(github: Readonly<Record<string, string>>): Record<string, string> {
  const { token: _, ...facts } = github;
  const variables = Object.entries(facts).map(([name, value]) => [`GITHUB_${name.toUpperCase()}`, value]);
  return {
    ...Object.fromEntries(variables),
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_ACTION: '__run',
    GITHUB_SERVER_URL: 'https://github.com',
    RUNNER_OS: 'Linux',
    RUNNER_ARCH: 'X64',
    RUNNER_ENVIRONMENT: 'self-hosted',
  };
}

/** A job with `id-token: write` may ask who it is; one with an environment is known by it, any other by its branch. */
function identityVariables(
  { oidc, source, repository }: RunRequest,
  job: { permissions: Permissions; environment: string; github: Readonly<Record<string, string>> },
): Record<string, string> {
  if (job.permissions['id-token'] !== 'write') return {};
  const { token: _, job: __, ...facts } = job.github;
  const { url, token } = oidc.open({
    ...facts,
    sub: `repo:${repository}:${job.environment === '' ? `ref:${BRANCH}` : `environment:${job.environment}`}`,
    job_workflow_ref: `${source.repository}/${source.path}@${BRANCH}`,
    ...(job.environment === '' ? {} : { environment: job.environment }),
  });
  return { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token };
}

/** @throws Error for an input that is missing, unknown or of another type */
function readInputs(
  definitions: Readonly<Record<string, InputDefinition>>,
  given: RunRequest['inputs'],
): Record<string, unknown> {
  const unknown = Object.keys(given).find((name) => definitions[name] === undefined);
  if (unknown !== undefined) throw new Error(`The workflow has no input ${unknown}`);
  return Object.fromEntries(
    Object.entries(definitions).map(([name, { type, required, default: fallback }]) => {
      const value = given[name] ?? fallback ?? { boolean: false, number: 0 }[String(type)] ?? '';
      if (required && given[name] === undefined) throw new Error(`The workflow needs the input ${name}`);
      const wanted = type === 'environment' ? 'string' : type;
      if (typeof value !== wanted) throw new Error(`The input ${name} is no ${wanted}`);
      return [name, value];
    }),
  );
}

/** The jobs in an order in which each comes after those that it needs. */
function inOrder(jobs: readonly WorkflowJob[]): WorkflowJob[] {
  const ordered: WorkflowJob[] = [];
  while (ordered.length < jobs.length) {
    const isReady = ({ needs }: WorkflowJob) => needs.every((id) => ordered.some((job) => job.id === id));
    const next = jobs.find((job) => !ordered.includes(job) && isReady(job));
    if (next === undefined) throw new Error('The jobs need one another in a circle');
    ordered.push(next);
  }
  return ordered;
}

function worst(results: readonly Status[]): Status {
  return (
    (['cancelled', 'failure', 'skipped'] as const).find((result) => results.includes(result)) ?? 'success'
  );
}

function aborted(signal: AbortSignal): Promise<'cancelled'> {
  if (signal.aborted) return Promise.resolve('cancelled');
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve('cancelled'), { once: true });
  });
}
