import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_TAG, type RoleName } from '../../scripts/identity/permissions.ts';
import { readIdentity } from '../identity/our-templates.ts';
import { allows } from '../identity/policy.ts';
import type { Stage } from './stage.ts';

/** The roles that the template makes. */
export const ROLES: readonly RoleName[] = ['read', 'change', 'cutover'];

const AGENT = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'index.js');

/** Credentials of the roles, and what their documents are called. */
export type Roles = { documentName(role: RoleName): string; env(role: RoleName): Record<string, string> };

/** Makes the roles and the documents of the template, bound to the agent of the build. */
export async function makeRoles(
  { simulator, instance, stateDirectory }: Stage,
  given: Readonly<Record<string, string>> = {},
): Promise<Roles> {
  const identity = readIdentity({
    ...given,
    StateDirectory: stateDirectory,
    AgentSha256: createHash('sha256')
      .update(await readFile(AGENT))
      .digest('hex'),
  });
  for (const role of ROLES)
    simulator.putDocument(identity.document(role).name, identity.document(role).content);
  const tags = { [instance.instanceId]: { [HOST_TAG]: 'sessions' } };
  const envs = new Map(
    ROLES.map((role) => [role, simulator.addRole(role, (call) => allows(identity.policy(role), call, tags))]),
  );
  return { documentName: (role) => identity.document(role).name, env: (role) => envs.get(role) ?? {} };
}
