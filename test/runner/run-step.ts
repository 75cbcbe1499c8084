import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ActionFolder, inputVariables, readActionFolder } from './action-folder.ts';
import { BUILT_IN_ACTIONS } from './built-in-actions.ts';
import { type Commands, makeCommandFiles, readCommands } from './command-files.ts';
import { evaluateTexts, evaluateToken, holds, type Status, textOf } from './expressions.ts';
import { type JobStart, type Progress, scopeOf, tempOf, workspaceOf } from './job-progress.ts';
import { runStepProcess } from './step-process.ts';
import type { WorkflowStep } from './workflow.ts';

/** How a step ended. */
export type StepOutcome = { readonly outcome: Status; readonly outputs: Readonly<Record<string, string>> };

const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

/** Runs a step that is due; what it says to the runner is heeded. */
export async function runStep(start: JobStart, progress: Progress, step: WorkflowStep): Promise<StepOutcome> {
  const scope = scopeOf(start, progress);
  const env = evaluateTexts(step.env, scope);
  try {
    if (step.uses === undefined)
      return await runScript(start, progress, { script: textOf(evaluateToken(step.run, scope)), env });
    const [name = ''] = step.uses.split('@');
    const inputs = evaluateTexts(step.with, scope);
    const builtIn = BUILT_IN_ACTIONS[name];
    if (builtIn === undefined)
      return await runAction(start, progress, { folder: folderOf(start, name), inputs, env });
    await builtIn(inputs, { ...start.place, workspace: workspaceOf(start) });
    return { outcome: 'success', outputs: {} };
  } catch (error) {
    start.log.write(`::error::${error instanceof Error ? error.message : String(error)}`);
    return { outcome: 'failure', outputs: {} };
  }
}

/** Without `shell`, GitHub's runner uses `bash -e`. */
async function runScript(
  start: JobStart,
  progress: Progress,
  { script, env }: { script: string; env: Readonly<Record<string, string>> },
): Promise<StepOutcome> {
  const path = join(tempOf(start), `${randomUUID()}.sh`);
  await writeFile(path, script);
  return runProcess(start, progress, { command: 'bash', args: ['-e', path], env });
}

type ActionStep = {
  readonly folder: string;
  readonly inputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
};

async function runAction(
  start: JobStart,
  progress: Progress,
  { folder, inputs, env }: ActionStep,
): Promise<StepOutcome> {
  const action = await readActionFolder(folder);
  const given = { ...env, ...inputVariables(action, inputs, scopeOf(start, progress)) };
  const main = { command: process.execPath, args: [join(folder, action.main)], env: given };
  const { state, ...outcome } = await runProcess(start, progress, main);
  if (action.post !== undefined)
    progress.posts.push(() => runPost(start, progress, { action, env: given, state }));
  return outcome;
}

/** An action's own end of the job; it finds what its main part has left as state. */
async function runPost(
  start: JobStart,
  progress: Progress,
  { action, env, state }: { action: ActionFolder; env: Record<string, string>; state: Commands['state'] },
): Promise<void> {
  if (!holds(action.postIf, scopeOf(start, progress))) return;
  start.log.write(`== ${start.job.id}: after ${action.folder}`);
  const states = Object.entries(state).map(([name, value]) => [`STATE_${name}`, value]);
  const { outcome } = await runProcess(start, progress, {
    command: process.execPath,
    args: [join(action.folder, action.post ?? '')],
    env: { ...env, ...Object.fromEntries(states) },
  });
  if (outcome === 'failure') progress.status = 'failure';
}

type Program = { command: string; args: readonly string[]; env: Readonly<Record<string, string>> };

async function runProcess(
  start: JobStart,
  progress: Progress,
  { command, args, env }: Program,
): Promise<StepOutcome & Pick<Commands, 'state'>> {
  const files = await makeCommandFiles(join(tempOf(start), 'commands', randomUUID()));
  const { exitCode, stderr } = await runStepProcess({
    command,
    args,
    directory: workspaceOf(start),
    cancel: start.cancel,
    onLine: (line) => start.log.write(line),
    env: {
      ...start.env,
      ...progress.env,
      PATH: [...progress.path, DEFAULT_PATH].join(':'),
      GITHUB_WORKSPACE: workspaceOf(start),
      RUNNER_TEMP: tempOf(start),
      ...env,
      ...files,
    },
  });
  if (stderr !== '') start.log.write(stderr);
  const { outputs, state, summary, ...changes } = await readCommands(files);
  progress.env = { ...progress.env, ...changes.env };
  progress.path = [...changes.path.toReversed(), ...progress.path];
  progress.summary += summary;
  return { outcome: exitCode === 0 ? 'success' : 'failure', outputs, state };
}

function folderOf(start: JobStart, name: string): string {
  if (name.startsWith('./')) return join(workspaceOf(start), name);
  const folder = start.actions[name];
  if (folder === undefined) throw new Error(`This runner does not have the action ${name}`);
  return folder;
}
