import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../src/action/host/scripts.ts';
import { readDocument } from '../simulator/command-document.ts';
import { readHostPolicy, readIdentity } from './our-templates.ts';
import { allows, type Policy, type PolicyCall, trusts } from './policy.ts';

const TEMPLATE = new URL('../../templates/identity.yaml', import.meta.url);
const ISSUER = 'token.actions.githubusercontent.com';

describe('the trust of the roles', () => {
  it('is in jobs of the branch, and for the cutover in jobs of the environment alone', () => {
    const { trust } = readIdentity();
    const subject = (role: 'read' | 'change' | 'cutover') => trust(role).conditions[`${ISSUER}:sub`];
    expect(subject('read')).toBe('repo:acme/shop:ref:refs/heads/main');
    expect(subject('change')).toBe('repo:acme/shop:ref:refs/heads/main');
    expect(subject('cutover')).toBe('repo:acme/shop:environment:production-cutover');
    expect(trust('cutover').conditions[`${ISSUER}:aud`]).toBe('sts.amazonaws.com');
  });

  it('takes no token without ids once the ids are given', () => {
    const { trust } = readIdentity({ GitHubOwnerId: '7', GitHubRepositoryId: '42' });
    expect(trust('read').conditions[`${ISSUER}:sub`]).toBe('repo:acme@7/shop@42:ref:refs/heads/main');
    expect(trust('cutover').conditions[`${ISSUER}:sub`]).toBe(
      'repo:acme@7/shop@42:environment:production-cutover',
    );
  });

  it('is bound to the workflows that are named, and to any where none is', () => {
    const name = `${ISSUER}:job_workflow_ref`;
    expect(readIdentity().trust('cutover').conditions).not.toHaveProperty([name]);
    const workflows = [
      'acme/m/.github/workflows/migrate.yml@refs/tags/v1',
      'acme/m/.github/workflows/operate.yml@refs/heads/main',
    ];
    const { trust } = readIdentity({ Workflows: workflows.join(',') });
    expect(trust('read').conditions[name]).toEqual(workflows);
  });

  it('goes through the provider that is given, and through one of its own where none is', () => {
    const arn = `arn:aws:iam::111122223333:oidc-provider/${ISSUER}`;
    const given = readIdentity({ OidcProviderArn: arn });
    expect(given.trust('read').provider).toBe(arn);
    expect(given.resources).not.toHaveProperty('OidcProvider');
    expect(readIdentity().resources).toHaveProperty('OidcProvider');
  });

  it('takes the token of such a job and no other, also where it differs in one claim alone', () => {
    const workflow = 'acme/m/.github/workflows/migrate.yml@refs/tags/v1';
    const trust = readIdentity({
      OidcProviderArn: `arn:aws:iam::111122223333:oidc-provider/${ISSUER}`,
      Workflows: workflow,
    }).trust('cutover');
    const claims = {
      iss: `https://${ISSUER}`,
      aud: 'sts.amazonaws.com',
      sub: 'repo:acme/shop:environment:production-cutover',
      job_workflow_ref: workflow,
    };
    expect(trusts(trust, claims)).toBe(true);
    for (const change of [
      { iss: 'https://issuer.example' },
      { aud: 'https://github.com/acme' },
      { sub: 'repo:acme/shop:ref:refs/heads/main' },
      { sub: 'repo:acme/shop:environment:production-cutover2' },
      { job_workflow_ref: 'acme/shop/.github/workflows/migrate.yml@refs/heads/main' },
    ])
      expect(trusts(trust, { ...claims, ...change }), JSON.stringify(change)).toBe(false);
  });

  it.each([
    ['GitHubRepository', 'shop:environment:production'],
    ['GitHubOwner', '*'],
    ['Branch', '*'],
    ['CutoverEnvironment', 'x:ref:refs/heads/main'],
    ['ReplicationGroupId', '*'],
    ['StateDirectory', "/tmp/'; id"],
  ])('cannot be widened by %s = %j', (name, value) => {
    expect(() => readIdentity({ [name]: value })).toThrow('refuses');
  });
});

describe('the policies', () => {
  const identity = readIdentity();
  const sent: PolicyCall = {
    service: 'ssm',
    operation: 'SendCommand',
    input: { InstanceIds: ['i-1'] },
  };
  const documents = {
    read: identity.document('read').name,
    change: identity.document('change').name,
    cutover: identity.document('cutover').name,
  };
  const tags = { 'i-1': { 'valkey-migrate': 'sessions' }, 'i-2': { 'valkey-migrate': 'other' } };

  it('reach the tagged host by the document, and neither another host nor another document', () => {
    for (const role of ['read', 'change', 'cutover'] as const) {
      const policy = identity.policy(role);
      const allowed = (input: Record<string, unknown>) =>
        allows(policy, { ...sent, input: { DocumentName: documents[role], ...sent.input, ...input } }, tags);
      expect(allowed({})).toBe(true);
      expect(allowed({ InstanceIds: ['i-1', 'i-2'] })).toBe(false);
      expect(allowed({ InstanceIds: ['i-3'] })).toBe(false);
      for (const name of ['AWS-RunShellScript', ...Object.values(documents)])
        expect(allowed({ DocumentName: name })).toBe(name === documents[role]);
    }
  });

  it('hand over by the role of the cutover; give up by that of changes unless that needs approval', () => {
    const complete = groupCall('CompleteMigration', 'sessions');
    expect(allows(identity.policy('cutover'), complete)).toBe(true);
    expect(allows(identity.policy('read'), complete)).toBe(false);
    expect(allows(identity.policy('change'), complete)).toBe(true);
    const strict = readIdentity({ RollbackNeedsApproval: 'true' });
    expect(allows(strict.policy('change'), complete)).toBe(false);
    expect(allows(strict.policy('cutover'), complete)).toBe(true);
  });

  it('are about one replication group', () => {
    for (const operation of ['DescribeReplicationGroups', 'StartMigration', 'CompleteMigration']) {
      expect(allows(identity.policy('change'), groupCall(operation, 'sessions'))).toBe(true);
      expect(allows(identity.policy('change'), groupCall(operation, 'sessions-2'))).toBe(false);
    }
  });

  it('have no wildcard but where IAM knows no resource', () => {
    for (const role of ['read', 'change', 'cutover'] as const)
      expect(onEverything(identity.policy(role))).toEqual(UNBOUND);
  });

  it('of the host read what is named, by the services that seal it, and nothing when nothing is', () => {
    const arn = 'arn:aws:ssm:ap-northeast-2:111122223333:parameter/redis/source';
    const policy = readHostPolicy({
      ParameterArn: arn,
      KeyArn: 'arn:aws:kms:ap-northeast-2:111122223333:key/1',
    });
    const read = (name: string) =>
      allows(policy, { service: 'ssm', operation: 'GetParameter', input: { Name: name } });
    expect(read('/redis/source')).toBe(true);
    expect(read('/redis/other')).toBe(false);
    expect(policy.Statement.map(({ Action }) => Action)).toEqual([['ssm:GetParameter'], ['kms:Decrypt']]);
    expect(policy.Statement[1]?.Condition?.StringEquals['kms:ViaService']).toEqual([
      'ssm.ap-northeast-2.amazonaws.com',
      'secretsmanager.ap-northeast-2.amazonaws.com',
    ]);
  });
});

/** Actions for which the Service Authorization Reference names no resource. */
const UNBOUND = [
  'elasticache:DescribeEvents',
  'ssm:DescribeInstanceInformation',
  'ssm:GetCommandInvocation',
  'ssm:CancelCommand',
];

function onEverything({ Statement }: Policy): string[] {
  return Statement.filter(({ Resource }) => Resource.includes('*')).flatMap(({ Action }) => Action);
}

function groupCall(operation: string, id: string): PolicyCall {
  return { service: 'elasticache', operation, input: { ReplicationGroupId: id } };
}

it('can be deployed without a bucket: CloudFormation takes 51,200 bytes in a request', () => {
  expect(readFileSync(TEMPLATE).length).toBeLessThan(51_200);
});

describe('the document of a role', () => {
  const SHA = 'a'.repeat(64);
  const document = readIdentity({ AgentSha256: SHA }).document('read');
  const GIVEN = {
    operation: ['probe'],
    agentSha256: [SHA],
    stateDirectoryBase64: [Buffer.from('/var/lib/valkey-migrate').toString('base64')],
  };

  it('takes what the action sends, for every operation', () => {
    for (const operation of Object.keys(OPERATIONS))
      expect(readDocument(document.content).render({ ...GIVEN, operation: [operation] }).script).toContain(
        `case '${operation}' in`,
      );
  });

  it.each([
    ['operation', 'anything'],
    ['agentSha256', 'b'.repeat(64)],
    ['stateDirectoryBase64', Buffer.from('/tmp').toString('base64')],
    ['requestBase64', "e30='; id; '"],
    ['requestBase64', 'e30=\nid'],
    ['partBase64', '$(id)'],
    ['shipment', '../../x'],
    ['partNumber', '{{ssm:/secret}}'],
    ['executionTimeout', '1; id'],
    ['commands', 'id'],
  ])('refuses %s = %j', (name, value) => {
    const { render } = readDocument(document.content);
    expect(() => render({ ...GIVEN, [name]: [value] })).toThrow(name);
  });

  it('says to the agent how far it reaches, which no parameter can change', () => {
    for (const role of ['read', 'change', 'cutover'] as const) {
      const { render } = readDocument(readIdentity().document(role).content);
      expect(render(GIVEN).script).toContain(`\naccess='${role}'\n`);
      expect(() => render({ ...GIVEN, access: ['cutover'] })).toThrow('access');
    }
  });

  it('takes any agent where none is pinned, by its checksum all the same', () => {
    const { render } = readDocument(readIdentity().document('read').content);
    expect(render({ ...GIVEN, agentSha256: ['b'.repeat(64)] }).script).toContain(
      `agent_sha256='${'b'.repeat(64)}'`,
    );
    expect(() => render({ ...GIVEN, agentSha256: ['x'] })).toThrow('agentSha256');
  });
});
