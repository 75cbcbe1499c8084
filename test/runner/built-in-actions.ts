import { cp, mkdir, readdir, stat, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Permissions } from './workflow.ts';

/** Where a step of a job runs. */
export type Place = {
  readonly workspace: string;
  /** Where the run keeps its artifacts. */
  readonly artifacts: string;
  /** What can be checked out, by `owner/name@commit`. */
  readonly repositories: Readonly<Record<string, string>>;
  readonly permissions: Permissions;
};

type BuiltIn = (inputs: Readonly<Record<string, string>>, place: Place) => Promise<void>;

/**
 * GitHub's own actions that need its servers, in short: a commit that is checked out is the folder that holds it, an
 * artifact is a folder of the run.
 *
 * @throws Error for what the action would fail on, and for what it is not asked for here
 */
export const BUILT_IN_ACTIONS: Readonly<Record<string, BuiltIn>> = {
  'actions/checkout': checkOut,
  'actions/upload-artifact': uploadArtifact,
  'actions/download-artifact': downloadArtifacts,
};

async function checkOut(
  { repository = '', ref = '', path = '', ...others }: Readonly<Record<string, string>>,
  { workspace, repositories, permissions }: Place,
): Promise<void> {
  refuseOthers('actions/checkout', others, ['persist-credentials']);
  if (permissions.contents !== 'read') throw new Error('checkout: the job may not read contents');
  const folder = repositories[`${repository}@${ref}`];
  if (folder === undefined) throw new Error(`checkout: there is no commit ${repository}@${ref}`);
  await symlink(folder, inside(workspace, path));
}

async function uploadArtifact(
  { name = '', path = '', ...others }: Readonly<Record<string, string>>,
  { artifacts }: Place,
): Promise<void> {
  refuseOthers('actions/upload-artifact', others, ['if-no-files-found']);
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  if (!isThere && others['if-no-files-found'] === 'ignore') return;
  await cp(path, inside(artifacts, name), { recursive: true, errorOnExist: true, force: false });
}

async function downloadArtifacts(
  { pattern = '', path = '', ...others }: Readonly<Record<string, string>>,
  { artifacts }: Place,
): Promise<void> {
  refuseOthers('actions/download-artifact', others, []);
  const parts = pattern.split('*').map((part) => part.replaceAll(/[^\w-]/g, '\\$&'));
  const names = (await readdir(artifacts)).filter((name) => new RegExp(`^${parts.join('.*')}$`).test(name));
  await mkdir(path, { recursive: true });
  await Promise.all(names.map((name) => cp(join(artifacts, name), join(path, name), { recursive: true })));
}

function refuseOthers(action: string, others: object, known: readonly string[]): void {
  const unknown = Object.keys(others).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`${action} is not known with ${unknown} here`);
}

/** A path below the folder and nowhere else. */
function inside(folder: string, path: string): string {
  const full = resolve(folder, path);
  if (full !== folder && !`${dirname(full)}/`.startsWith(`${folder}/`))
    throw new Error(`${path} is not in ${folder}`);
  return full;
}
