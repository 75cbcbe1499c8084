import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { RoleName } from '../../scripts/identity/permissions.ts';
import { resolveTemplate } from './cloudformation.ts';
import { type Policy, policySchema } from './policy.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** The parameters that have no default. */
export const IDENTITY_GIVEN = {
  ReplicationGroupId: 'sessions',
  GitHubOwner: 'acme',
  GitHubRepository: 'shop',
  CutoverEnvironment: 'production-cutover',
} as const;

const roleSchema = z.object({
  AssumeRolePolicyDocument: z.object({
    Statement: z.tuple([
      z.object({
        Principal: z.object({ Federated: z.string() }),
        Condition: z.object({ StringEquals: z.record(z.string(), z.unknown()) }),
      }),
    ]),
  }),
  Policies: z.tuple([z.object({ PolicyDocument: policySchema })]),
});

/** The roles of templates/identity.yaml, and their documents. */
export type Identity = {
  readonly resources: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
  document(role: RoleName): { readonly name: string; readonly content: unknown };
  policy(role: RoleName): Policy;
  trust(role: RoleName): { provider: string; conditions: Readonly<Record<string, unknown>> };
};

/** Works out templates/identity.yaml. */
export function readIdentity(given: Readonly<Record<string, string>> = {}): Identity {
  const { resources, outputs } = resolveTemplate(readTemplate('identity.yaml'), {
    ...IDENTITY_GIVEN,
    ...given,
  });
  const role = (name: RoleName) => roleSchema.parse(resources[ROLE_IDS[name]]);
  return {
    resources,
    outputs,
    document: (name) => {
      const { Name, Content } = documentSchema.parse(resources[DOCUMENT_IDS[name]]);
      return { name: Name, content: Content };
    },
    policy: (name) => role(name).Policies[0].PolicyDocument,
    trust: (name) => {
      const [{ Principal, Condition }] = role(name).AssumeRolePolicyDocument.Statement;
      return { provider: Principal.Federated, conditions: Condition.StringEquals };
    },
  };
}

const documentSchema = z.object({ Name: z.string(), Content: z.unknown() });
const DOCUMENT_IDS = { read: 'ReadDocument', change: 'ChangeDocument', cutover: 'CutoverDocument' } as const;
const ROLE_IDS = { read: 'ReadRole', change: 'ChangeRole', cutover: 'CutoverRole' } as const;

/** The policy that templates/host.yaml gives to the role of the host. */
export function readHostPolicy(given: Readonly<Record<string, string>>): Policy {
  const { resources } = resolveTemplate(readTemplate('host.yaml'), { HostRoleName: 'redis', ...given });
  return z.object({ PolicyDocument: policySchema }).parse(resources.HostPolicy).PolicyDocument;
}

function readTemplate(name: string): string {
  return readFileSync(path.join(ROOT, 'templates', name), 'utf8');
}
