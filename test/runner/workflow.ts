import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from '@actions/workflow-parser';
import { z } from 'zod';
import { entriesOf, plainValue, type Token } from './expressions.ts';

/** A workflow as GitHub's own parser has read it; its expressions are still to be worked out. */
export type Workflow = {
  readonly name: string;
  /** The inputs that each trigger takes. */
  readonly inputs: Readonly<Record<Trigger, Readonly<Record<string, InputDefinition>>>>;
  /** What a caller gets: expressions over `jobs`. */
  readonly outputs: Readonly<Record<string, Token>>;
  readonly env: Token | undefined;
  readonly permissions: Permissions;
  readonly jobs: readonly WorkflowJob[];
};

/** How the workflow was started. */
export type Trigger = 'workflow_dispatch' | 'workflow_call';

/** One job of it. */
export type WorkflowJob = {
  readonly id: string;
  readonly needs: readonly string[];
  readonly if: string;
  readonly environment: Token | undefined;
  readonly permissions: Permissions | undefined;
  readonly env: Token | undefined;
  readonly outputs: Token | undefined;
  readonly steps: readonly WorkflowStep[];
};

/** One step of a job; it has either `uses` or `run`. */
export type WorkflowStep = {
  readonly id: string;
  readonly name: Token | undefined;
  readonly if: string;
  readonly uses: string | undefined;
  readonly run: Token | undefined;
  readonly with: Token | undefined;
  readonly env: Token | undefined;
  readonly continueOnError: boolean;
};

const permissionsSchema = z.record(z.string(), z.enum(['read', 'write', 'none']));
/** What the token of a job may do. */
export type Permissions = z.infer<typeof permissionsSchema>;

const inputSchema = z.object({
  type: z.enum(['string', 'number', 'boolean', 'environment']),
  required: z.boolean().default(false),
  default: z.union([z.string(), z.number(), z.boolean()]).optional(),
});
/** An input as its trigger declares it. */
export type InputDefinition = z.infer<typeof inputSchema>;

/** What this runner heeds, or may leave aside: it runs one job at a time, on one machine, without a limit of time. */
const JOB_KEYS = ['needs', 'if', 'environment', 'permissions', 'env', 'outputs', 'steps'];
const JOB_KEYS_ASIDE = ['name', 'runs-on', 'timeout-minutes', 'concurrency'];
const STEP_KEYS = ['id', 'name', 'if', 'uses', 'run', 'with', 'env', 'continue-on-error'];

/**
 * Reads a workflow.
 *
 * @throws Error for what GitHub would refuse, and for what this runner does not know
 */
export async function readWorkflow(file: { name: string; content: string }): Promise<Workflow> {
  const { context, value: root } = parseWorkflow(file, new NoOperationTraceWriter());
  if (root === undefined) throw new Error(`${file.name} is no workflow`);
  const template = await convertWorkflowTemplate(context, root);
  const [error] = template.errors ?? [];
  if (error !== undefined) throw new Error(`${file.name}: ${error.Message}`);
  const top = entriesOf(root);
  const triggers = entriesOf(top.on);
  const call = entriesOf(triggers.workflow_call);
  const jobs = entriesOf(top.jobs);
  return {
    name: String(plainValue(top.name) ?? file.name),
    inputs: {
      workflow_dispatch: readInputs(entriesOf(triggers.workflow_dispatch).inputs),
      workflow_call: readInputs(call.inputs),
    },
    outputs: Object.fromEntries(
      Object.entries(entriesOf(call.outputs)).map(([name, output]) => [name, outputValue(output)]),
    ),
    env: top.env,
    permissions: permissionsSchema.parse(plainValue(top.permissions) ?? {}),
    jobs: template.jobs.map((job) => {
      if (job.type !== 'job') throw new Error(`${job.id.value} calls another workflow`);
      return readJob(job, entriesOf(jobs[job.id.value]));
    }),
  };
}

type ParsedJob = Extract<
  Awaited<ReturnType<typeof convertWorkflowTemplate>>['jobs'][number],
  { type: 'job' }
>;
type Entries = Readonly<Record<string, Token>>;

/** The conditions are those of the parser, which puts in the `success()` that nobody writes. */
function readJob(job: ParsedJob, entries: Entries): WorkflowJob {
  refuseUnknown(job.id.value, entries, [...JOB_KEYS, ...JOB_KEYS_ASIDE]);
  const steps = entries.steps?.assertSequence('steps') ?? [];
  return {
    id: job.id.value,
    needs: (job.needs ?? []).map(({ value }) => value),
    if: job.if.expression,
    environment: entries.environment,
    permissions:
      entries.permissions === undefined
        ? undefined
        : permissionsSchema.parse(plainValue(entries.permissions)),
    env: entries.env,
    outputs: entries.outputs,
    steps: [...steps].map((token, index) => readStep(job.steps[index], entriesOf(token))),
  };
}

function readStep(step: ParsedJob['steps'][number] | undefined, entries: Entries): WorkflowStep {
  refuseUnknown(step?.id ?? 'a step', entries, STEP_KEYS);
  return {
    id: step?.id ?? '',
    name: entries.name,
    if: step?.if?.expression ?? 'success()',
    uses: entries.uses?.assertString('uses').value,
    run: entries.run,
    with: entries.with,
    env: entries.env,
    continueOnError: plainValue(entries['continue-on-error']) === true,
  };
}

function readInputs(token: Token | undefined): Record<string, InputDefinition> {
  return z.record(z.string(), inputSchema).parse(plainValue(token) ?? {});
}

function refuseUnknown(owner: string, entries: Entries, known: readonly string[]): void {
  const unknown = Object.keys(entries).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Error(`This runner does not know ${unknown} of ${owner}`);
}

function outputValue(output: Token): Token {
  const { value } = entriesOf(output);
  if (value === undefined) throw new Error('An output has no value');
  return value;
}
