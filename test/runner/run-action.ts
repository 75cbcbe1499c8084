import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import {
  makeCommandFiles,
  parseAnnotations,
  parseMasks,
  type RunAnnotation,
  readCommands,
} from './command-files.ts';
import { runStepProcess, type StepProcess } from './step-process.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** What a step gives the action; inputs that are not given have the defaults of action.yml, as on the runner. */
export type ActionRun = Pick<StepProcess, 'onLine' | 'cancel' | 'kill'> & {
  readonly inputs: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly repository?: string;
};

/** What the runner has of a step when it is over. */
export type ActionResult = {
  readonly exitCode: number | null;
  readonly outputs: Readonly<Record<string, string>>;
  readonly summary: string;
  /** What was written to the files for the environment, the path and the state of the job: nothing of ours is. */
  readonly otherFiles: string;
  readonly annotations: readonly RunAnnotation[];
  readonly masks: readonly string[];
  /** Everything on stdout, commands included. */
  readonly log: string;
  readonly stderr: string;
};

/**
 * Runs the built action as GitHub's runner does: `dist/action/index.js` on Node 24 with nothing of our environment,
 * the inputs as `INPUT_…`, and the command files.
 *
 * Source: actions/runner, Runner.Worker/Handlers/NodeScriptActionHandler and FileCommandManager.
 */
export async function runAction(run: ActionRun): Promise<ActionResult> {
  const directory = await mkdtemp(join(tmpdir(), 'runner-'));
  try {
    const files = await makeCommandFiles(directory);
    const { exitCode, stdout, stderr } = await runStepProcess({
      ...run,
      command: process.execPath,
      args: [join(ROOT, 'dist', 'action', 'index.js')],
      env: {
        ...(await inputVariables(run.inputs)),
        ...files,
        PATH: '/usr/bin:/bin',
        RUNNER_TEMP: directory,
        GITHUB_ACTIONS: 'true',
        GITHUB_REPOSITORY: run.repository ?? 'acme/shop',
        GITHUB_RUN_ID: '1',
        ...run.env,
      },
    });
    const { outputs, summary, otherFiles } = await readCommands(files);
    return {
      exitCode,
      outputs,
      summary,
      otherFiles,
      annotations: parseAnnotations(stdout),
      masks: parseMasks(stdout),
      log: stdout,
      stderr,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const actionSchema = z.object({
  inputs: z.record(
    z.string(),
    z.object({ default: z.union([z.string(), z.boolean(), z.number()]).optional() }),
  ),
});

/** An input that action.yml does not know is a mistake of the test. */
async function inputVariables(inputs: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const { inputs: known } = actionSchema.parse(parse(await readFile(join(ROOT, 'action.yml'), 'utf8')));
  const unknown = Object.keys(inputs).filter((name) => !(name in known));
  if (unknown.length > 0) throw new Error(`action.yml has no input ${unknown.join(', ')}`);
  const variables: Record<string, string> = {};
  for (const [name, { default: fallback }] of Object.entries(known)) {
    const isExpression = String(fallback ?? '').startsWith('${{');
    variables[`INPUT_${name.toUpperCase()}`] = inputs[name] ?? (isExpression ? '' : String(fallback ?? ''));
  }
  return variables;
}
