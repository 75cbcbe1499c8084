import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const ROOT = join(import.meta.dirname, '..', '..');

/** GitHub's limit for the summary of one step. */
const SUMMARY_BYTES_MAX = 1024 * 1024;

/** What a step gives the action; inputs that are not given have the defaults of action.yml, as on the runner. */
export type ActionRun = {
  readonly inputs: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly repository?: string;
  /** Sees every line of the log as it comes. */
  onLine?(line: string): void;
  /** Cancels the run as the runner does: SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL. */
  readonly cancel?: AbortSignal;
  /** Kills the action at once, as a runner that is lost. */
  readonly kill?: AbortSignal;
};

/** An annotation as the action commands it. */
export type RunAnnotation = { level: string; title: string; message: string };

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
    const { exitCode, stdout, stderr } = await spawnAction(run, {
      ...(await inputVariables(run.inputs)),
      ...files,
      PATH: '/usr/bin:/bin',
      RUNNER_TEMP: directory,
      GITHUB_ACTIONS: 'true',
      GITHUB_REPOSITORY: run.repository ?? 'acme/shop',
      GITHUB_RUN_ID: '1',
      ...run.env,
    });
    const summary = await readFile(files.GITHUB_STEP_SUMMARY, 'utf8');
    if (Buffer.byteLength(summary) > SUMMARY_BYTES_MAX)
      throw new Error('The summary is over the limit of GitHub.');
    return {
      exitCode,
      outputs: parseKeyValueFile(await readFile(files.GITHUB_OUTPUT, 'utf8')),
      summary,
      otherFiles: (
        await Promise.all(
          [files.GITHUB_ENV, files.GITHUB_PATH, files.GITHUB_STATE].map((path) => readFile(path, 'utf8')),
        )
      ).join(''),
      annotations: parseAnnotations(stdout),
      masks: [...stdout.matchAll(/^::add-mask::(.*)$/gm)].map(([, mask]) => mask ?? ''),
      log: stdout,
      stderr,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function makeCommandFiles(directory: string) {
  const files = {
    GITHUB_OUTPUT: join(directory, 'output'),
    GITHUB_STATE: join(directory, 'state'),
    GITHUB_ENV: join(directory, 'env'),
    GITHUB_PATH: join(directory, 'path'),
    GITHUB_STEP_SUMMARY: join(directory, 'summary'),
  };
  await Promise.all(Object.values(files).map((path) => writeFile(path, '')));
  return files;
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

function spawnAction(
  { onLine, cancel, kill }: ActionRun,
  env: Record<string, string>,
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(ROOT, 'dist', 'action', 'index.js')], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const timers: NodeJS.Timeout[] = [];
  const onCancel = () => {
    child.kill('SIGINT');
    timers.push(
      setTimeout(() => child.kill('SIGTERM'), 7500),
      setTimeout(() => child.kill('SIGKILL'), 10_000),
    );
  };
  cancel?.addEventListener('abort', onCancel, { once: true });
  kill?.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
  let stdout = '';
  let stderr = '';
  let shown = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    for (let end = stdout.indexOf('\n', shown); end >= 0; end = stdout.indexOf('\n', shown)) {
      onLine?.(stdout.slice(shown, end));
      shown = end + 1;
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => {
      for (const timer of timers) clearTimeout(timer);
      cancel?.removeEventListener('abort', onCancel);
      resolve({ exitCode, stdout, stderr });
    });
  });
}

/** Reads `name=value` and `name<<delimiter` … `delimiter`. */
function parseKeyValueFile(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  const lines = text.split('\n');
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    const heredoc = /^([^=]+?)<<(.+)$/.exec(line);
    if (heredoc) {
      const [, name = '', delimiter] = heredoc;
      const end = lines.indexOf(delimiter ?? '', index + 1);
      values[name] = lines.slice(index + 1, end).join('\n');
      index = end;
    } else if (line.includes('='))
      values[line.slice(0, line.indexOf('='))] = line.slice(line.indexOf('=') + 1);
  }
  return values;
}

function parseAnnotations(stdout: string): RunAnnotation[] {
  return [...stdout.matchAll(/^::(error|warning|notice)(?: ([^:]*))?::(.*)$/gm)].map(
    ([, level = '', properties = '', message = '']) => ({
      level,
      title: decodeCommandValue(/title=([^,]*)/.exec(properties)?.[1] ?? ''),
      message: decodeCommandValue(message),
    }),
  );
}

function decodeCommandValue(text: string): string {
  return text
    .replaceAll('%0D', '\r')
    .replaceAll('%0A', '\n')
    .replaceAll('%3A', ':')
    .replaceAll('%2C', ',')
    .replaceAll('%25', '%');
}
