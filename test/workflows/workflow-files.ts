import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const ROOT = path.resolve(import.meta.dirname, '../..');
const WORKFLOWS = '.github/workflows';

const scalar = z.union([z.string(), z.number(), z.boolean()]);

const stepSchema = z.object({
  name: z.string().optional(),
  id: z.string().optional(),
  if: z.string().optional(),
  uses: z.string().optional(),
  run: z.string().optional(),
  env: z.record(z.string(), scalar).default({}),
  with: z.record(z.string(), scalar).default({}),
});
/** A step, as far as the tests look at it. */
export type Step = z.infer<typeof stepSchema>;

const jobSchema = z.object({
  'runs-on': z.string(),
  'timeout-minutes': z.number().optional(),
  environment: z.string().optional(),
  concurrency: z
    .object({ group: z.string(), 'cancel-in-progress': z.boolean(), queue: z.literal('max').optional() })
    .optional(),
  permissions: z.record(z.string(), z.string()).optional(),
  env: z.record(z.string(), scalar).default({}),
  needs: z.union([z.string().transform((name) => [name]), z.array(z.string())]).default([]),
  outputs: z.record(z.string(), z.string()).default({}),
  steps: z.array(stepSchema),
});
/** A job, as far as the tests look at it. */
export type Job = z.infer<typeof jobSchema>;

const inputSchema = z.object({
  type: z.string(),
  description: z.string(),
  default: scalar.optional(),
  required: z.boolean().optional(),
});
const inputsSchema = z.object({ inputs: z.record(z.string(), inputSchema).default({}) });

const workflowSchema = z.object({
  on: z.object({ workflow_dispatch: inputsSchema.optional(), workflow_call: inputsSchema.optional() }),
  permissions: z.record(z.string(), z.string()),
  concurrency: z.unknown().optional(),
  jobs: z.record(z.string(), jobSchema),
});
/** A workflow, as far as the tests look at it. */
export type Workflow = z.infer<typeof workflowSchema>;

const actionSchema = z.object({
  inputs: z.record(z.string(), z.object({ description: z.string(), default: scalar.optional() })),
  outputs: z.record(z.string(), z.object({ description: z.string() })),
});

/** The paths of all workflows, relative to the root of the repository. */
export const WORKFLOW_FILES = readdirSync(path.join(ROOT, WORKFLOWS)).map((name) => `${WORKFLOWS}/${name}`);

/** The text of a file of the repository. */
export function readText(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

/** A workflow with its anchors resolved. */
export function readWorkflow(file: string): Workflow {
  return workflowSchema.parse(parse(readText(file)));
}

/** Inputs and outputs of action.yml. */
export function readAction(): z.infer<typeof actionSchema> {
  return actionSchema.parse(parse(readText('action.yml')));
}

/** The step that runs this project's own action, and undefined in a job that runs none. */
export function ownStep(job: Job): Step | undefined {
  return job.steps.find((step) => step.uses === './.valkey-migrate');
}

/** Every string anywhere in a value: where expressions can stand. */
export function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(stringsIn);
}
