import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** GitHub's limit for the summary of one step. */
const SUMMARY_BYTES_MAX = 1024 * 1024;

const FILES = {
  GITHUB_OUTPUT: 'output',
  GITHUB_STATE: 'state',
  GITHUB_ENV: 'env',
  GITHUB_PATH: 'path',
  GITHUB_STEP_SUMMARY: 'summary',
} as const;

/** The files by which a step talks to the runner, as variables of its environment. */
export type CommandFiles = Readonly<Record<keyof typeof FILES, string>>;

/** What a step has written into them. */
export type Commands = {
  readonly outputs: Readonly<Record<string, string>>;
  readonly state: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly path: readonly string[];
  readonly summary: string;
  /** The text of the files for the state, the environment and the path, as it was written. */
  readonly otherFiles: string;
};

/** Makes the empty files of one step. */
export async function makeCommandFiles(directory: string): Promise<CommandFiles> {
  await mkdir(directory, { recursive: true });
  const paths = (Object.keys(FILES) as (keyof typeof FILES)[]).map(
    (name) => [name, join(directory, FILES[name])] as const,
  );
  await Promise.all(paths.map(([, path]) => writeFile(path, '')));
  return Object.fromEntries(paths) as CommandFiles;
}

/** @throws Error for a summary that GitHub would throw away */
export async function readCommands(files: CommandFiles): Promise<Commands> {
  const summary = await readFile(files.GITHUB_STEP_SUMMARY, 'utf8');
  if (Buffer.byteLength(summary) > SUMMARY_BYTES_MAX)
    throw new Error('The summary is over the limit of GitHub.');
  const state = await readFile(files.GITHUB_STATE, 'utf8');
  const env = await readFile(files.GITHUB_ENV, 'utf8');
  const path = await readFile(files.GITHUB_PATH, 'utf8');
  return {
    outputs: parseKeyValueFile(await readFile(files.GITHUB_OUTPUT, 'utf8')),
    state: parseKeyValueFile(state),
    env: parseKeyValueFile(env),
    path: path.split('\n').filter(Boolean),
    summary,
    otherFiles: `${state}${env}${path}`,
  };
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

/** An annotation as a step commands it. */
export type RunAnnotation = { level: string; title: string; message: string };

/** The annotations among the lines of a step. */
export function parseAnnotations(stdout: string): RunAnnotation[] {
  return [...stdout.matchAll(/^::(error|warning|notice)(?: ([^:]*))?::(.*)$/gm)].map(
    ([, level = '', properties = '', message = '']) => ({
      level,
      title: decodeCommandValue(/title=([^,]*)/.exec(properties)?.[1] ?? ''),
      message: decodeCommandValue(message),
    }),
  );
}

/** What a step has told the runner to hide, as it was commanded. */
export function parseMasks(stdout: string): string[] {
  return [...stdout.matchAll(/^::add-mask::(.*)$/gm)].map(([, mask]) => decodeCommandValue(mask ?? ''));
}

function decodeCommandValue(text: string): string {
  return text
    .replaceAll('%0D', '\r')
    .replaceAll('%0A', '\n')
    .replaceAll('%3A', ':')
    .replaceAll('%2C', ',')
    .replaceAll('%25', '%');
}
