import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

/** The folder of the rehearsal. */
export const REHEARSAL = path.resolve(import.meta.dirname, '../../examples/rehearsal');

const run = promisify(execFile);
const INSTALL_TIMEOUT_MS = 150_000;

const templateSchema = z.object({
  Parameters: z.record(z.string(), z.object({ Default: z.string().optional() })).default({}),
  Resources: z.record(
    z.string(),
    z.object({
      Type: z.string(),
      Properties: z.record(z.string(), z.unknown()).default({}),
      CreationPolicy: z.unknown().optional(),
    }),
  ),
  Outputs: z.record(z.string(), z.object({ Value: z.unknown() })),
});
/** A template as the app synthesises it. */
export type StackTemplate = z.infer<typeof templateSchema>;

/** The templates of both stacks, in files as well. */
export type Synthesis = AsyncDisposable & {
  readonly stacks: Readonly<Record<'Rehearsal' | 'RehearsalTls', StackTemplate>>;
  readonly files: readonly string[];
};

/**
 * Installs the packages of the app by its lockfile, unless they are there; says why where no registry answers.
 *
 * @throws Error when they cannot be installed for another reason
 */
export async function installRehearsal(): Promise<string | undefined> {
  const installed = path.join(REHEARSAL, 'node_modules', '.package-lock.json');
  const lockfile = path.join(REHEARSAL, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lockfile).mtimeMs) return undefined;
  try {
    await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: REHEARSAL,
      timeout: INSTALL_TIMEOUT_MS,
    });
    return undefined;
  } catch (error) {
    const told = String(error);
    if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/.test(told)) throw error;
    return 'the npm registry cannot be reached for the packages of examples/rehearsal';
  }
}

/** Synthesises both stacks. */
export async function synthesise(): Promise<Synthesis> {
  const directory = await mkdtemp(path.join(tmpdir(), 'rehearsal-'));
  await run(process.execPath, ['main.ts'], {
    cwd: REHEARSAL,
    env: { PATH: process.env.PATH, CDK_OUTDIR: directory },
  });
  const file = (stack: string) => path.join(directory, `${stack}.template.json`);
  const read = async (stack: string) => templateSchema.parse(JSON.parse(await readFile(file(stack), 'utf8')));
  return {
    stacks: { Rehearsal: await read('Rehearsal'), RehearsalTls: await read('RehearsalTls') },
    files: [file('Rehearsal'), file('RehearsalTls')],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
