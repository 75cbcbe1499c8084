import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { workflowInputs } from '../../examples/rehearsal/workflow-inputs.ts';
import { HOST_TAG } from '../../scripts/identity/permissions.ts';
import { readWorkflow } from '../workflows/workflow-files.ts';
import { installLinter, lintTemplates } from './cloudformation-lint.ts';
import { installRehearsal, REHEARSAL, type StackTemplate, type Synthesis, synthesise } from './synthesis.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const VARIANTS = [
  { stack: 'Rehearsal', id: 'rehearsal', encrypted: false },
  { stack: 'RehearsalTls', id: 'rehearsal-tls', encrypted: true },
] as const;

let missing: string | undefined;
let synthesis: Synthesis | undefined;

beforeAll(async () => {
  missing = await installRehearsal();
  if (missing === undefined) synthesis = await synthesise();
}, 180_000);
afterAll(() => synthesis?.[Symbol.asyncDispose]());
beforeEach((context) => context.skip(missing !== undefined, missing));

function stackOf(name: 'Rehearsal' | 'RehearsalTls'): StackTemplate {
  if (synthesis === undefined) throw new Error('The stacks are not synthesised');
  return synthesis.stacks[name];
}

function propertiesOf(template: StackTemplate, type: string): Readonly<Record<string, unknown>>[] {
  return Object.values(template.Resources)
    .filter(({ Type }) => Type === type)
    .map(({ Properties }) => Properties);
}

describe.each(VARIANTS)('the stack $stack', ({ stack, id, encrypted }) => {
  it('has a target that serves a migration', () => {
    expect(propertiesOf(stackOf(stack), 'AWS::ElastiCache::ReplicationGroup')).toEqual([
      expect.objectContaining({
        ReplicationGroupId: id,
        Engine: 'valkey',
        EngineVersion: '8.2',
        CacheNodeType: 'cache.t3.medium',
        NumCacheClusters: 2,
        MultiAZEnabled: true,
        AutomaticFailoverEnabled: true,
        TransitEncryptionEnabled: encrypted,
        AtRestEncryptionEnabled: true,
      }),
    ]);
  });

  it('has a source on Amazon Linux 2023 that is reached by Systems Manager and not by SSH', () => {
    const template = stackOf(stack);
    const [instance, ...others] = propertiesOf(template, 'AWS::EC2::Instance');
    expect(others).toEqual([]);
    expect(instance).toMatchObject({ InstanceType: 't3.medium' });
    expect(instance).not.toHaveProperty('KeyName');
    expect(JSON.stringify(instance)).not.toContain('"AssociatePublicIpAddress":true');
    expect(instance?.Tags).toContainEqual({ Key: HOST_TAG, Value: id });
    const images = Object.values(template.Parameters).map((parameter) => parameter.Default);
    expect(images).toEqual([
      expect.stringMatching(/^\/aws\/service\/ami-amazon-linux-latest\/al2023-ami-kernel-[\d.]+-x86_64$/),
    ]);
    expect(JSON.stringify(propertiesOf(template, 'AWS::IAM::Role'))).toContain(
      'AmazonSSMManagedInstanceCore',
    );
    expect(JSON.stringify(propertiesOf(template, 'AWS::EC2::LaunchTemplate'))).toContain(
      '"HttpTokens":"required"',
    );
  });

  it('builds the release of Redis whose checksum it knows, and is complete when Redis answers', () => {
    const [host] = Object.entries(stackOf(stack).Resources).filter(
      ([, { Type }]) => Type === 'AWS::EC2::Instance',
    );
    const script = JSON.stringify(host?.[1].Properties.UserData);
    expect(script).toContain("REDIS_VERSION='7.4.6'");
    expect(script).toMatch(/REDIS_SHA256='[0-9a-f]{64}'/);
    expect(script).toContain(`RESOURCE='${host?.[0]}'`);
    expect(host?.[1].CreationPolicy).toEqual({ ResourceSignal: { Count: 1, Timeout: 'PT20M' } });
  });

  it('lets source and target at each other on 6379, and nobody else in', () => {
    const template = stackOf(stack);
    const rules = propertiesOf(template, 'AWS::EC2::SecurityGroupIngress');
    const ends = rules.map(({ GroupId, SourceSecurityGroupId }) => [
      nameOf(GroupId),
      nameOf(SourceSecurityGroupId),
    ]);
    expect(ends.sort()).toEqual([
      ['SourceSecurityGroup', 'TargetSecurityGroup'],
      ['TargetSecurityGroup', 'SourceSecurityGroup'],
    ]);
    for (const rule of rules) expect(rule).toMatchObject({ IpProtocol: 'tcp', FromPort: 6379, ToPort: 6379 });
    for (const group of propertiesOf(template, 'AWS::EC2::SecurityGroup'))
      expect(group).not.toHaveProperty('SecurityGroupIngress');
  });

  it('spans two zones behind one NAT gateway', () => {
    const template = stackOf(stack);
    expect(propertiesOf(template, 'AWS::EC2::Subnet')).toHaveLength(4);
    expect(propertiesOf(template, 'AWS::EC2::NatGateway')).toHaveLength(1);
    for (const subnet of propertiesOf(template, 'AWS::EC2::Subnet'))
      expect(subnet).toMatchObject({ MapPublicIpOnLaunch: false });
  });

  it('has outputs that feed the workflow', () => {
    const outputs = Object.keys(stackOf(stack).Outputs);
    expect(outputs.sort()).toEqual([
      'RedisInstanceId',
      'RedisPrivateIp',
      'ValkeyPrimaryEndpoint',
      'ValkeyReplicationGroupId',
    ]);
    const values = Object.fromEntries(
      outputs.map((name) => [name, name === 'RedisInstanceId' ? 'i-0123456789abcdef0' : id]),
    );
    const given = {
      'aws-region': 'ap-northeast-2',
      'role-to-assume': 'arn',
      'cutover-environment': 'rehearsal',
    };
    const inputs = workflowInputs({ [stack]: values }, given);
    expect(inputs).toMatchObject({ 'replication-group-id': id, 'instance-id': 'i-0123456789abcdef0' });
    const declared = readWorkflow('.github/workflows/migrate.yml').on.workflow_dispatch?.inputs ?? {};
    expect(Object.keys(declared)).toEqual(expect.arrayContaining(Object.keys(inputs)));
    const required = Object.entries(declared).filter(([, { required: isRequired }]) => isRequired === true);
    expect(Object.keys(inputs)).toEqual(expect.arrayContaining(required.map(([name]) => name)));
  });
});

function nameOf(reference: unknown): string {
  return /(Source|Target)SecurityGroup/.exec(JSON.stringify(reference))?.[0] ?? '';
}

describe('the app', () => {
  it('is understood by the compiler, and its script by the shell', async () => {
    const run = promisify(execFile);
    await run(process.execPath, [path.join(ROOT, 'node_modules/.bin/tsc'), '-p', REHEARSAL]);
    await run('bash', ['-n', path.join(REHEARSAL, 'host/set-up.sh')]);
  });

  it('is told by its page what it is given by its outputs', () => {
    const page = readFileSync(path.join(REHEARSAL, 'README.md'), 'utf8');
    for (const output of Object.keys(stackOf('Rehearsal').Outputs)) expect(page).toContain(`\`${output}\``);
    const scripts = [...page.matchAll(/npm run (?:--silent )?(\w+)/g)].map(([, name]) => name ?? '');
    const { scripts: known } = JSON.parse(readFileSync(path.join(REHEARSAL, 'package.json'), 'utf8'));
    for (const name of scripts) expect(known).toHaveProperty(name);
  });

  it('takes the outputs of one stack only', () => {
    expect(() => workflowInputs({}, {})).toThrow('none');
    expect(() => workflowInputs({ A: {}, B: {} }, {})).toThrow('A, B');
    expect(() => workflowInputs({ A: {} }, {})).toThrow('ValkeyReplicationGroupId');
  });
});

it('both stacks can stand side by side: what has a name of its own has another one in each', () => {
  const names = (['Rehearsal', 'RehearsalTls'] as const).flatMap((stack) =>
    Object.values(stackOf(stack).Resources).flatMap(({ Properties }) =>
      ['LaunchTemplateName', 'ReplicationGroupId'].flatMap((property) =>
        typeof Properties[property] === 'string' ? [Properties[property]] : [],
      ),
    ),
  );
  expect(names).toHaveLength(4);
  expect(new Set(names).size).toBe(4);
});

it('a CloudFormation linter finds nothing in the rehearsal nor in templates', {
  timeout: 200_000,
}, async (context) => {
  const unavailable = await installLinter();
  context.skip(unavailable !== undefined, unavailable);
  const own = ['identity.yaml', 'host.yaml'].map((name) => path.join(ROOT, 'templates', name));
  expect(await lintTemplates([...(synthesis?.files ?? []), ...own])).toBe('');
});
