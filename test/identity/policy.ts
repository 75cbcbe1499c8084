import { z } from 'zod';
import type { RecordedCall } from '../simulator/server.ts';
import { PSEUDO_PARAMETERS } from './cloudformation.ts';

/** A call as the policies of a role see it. */
export type PolicyCall = Pick<RecordedCall, 'service' | 'operation' | 'input'>;

const oneOrMore = z.union([z.string().transform((text) => [text]), z.array(z.string())]);

/** A policy document without its functions. */
export const policySchema = z.strictObject({
  Version: z.literal('2012-10-17'),
  Statement: z.array(
    z.strictObject({
      Sid: z.string().optional(),
      Effect: z.literal('Allow'),
      Action: oneOrMore,
      Resource: oneOrMore,
      Condition: z.strictObject({ StringEquals: z.record(z.string(), oneOrMore) }).optional(),
    }),
  ),
});
/** See {@link policySchema}. */
export type Policy = z.infer<typeof policySchema>;

/** The tags of the instances of the account, by their ids. */
export type InstanceTags = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Whether the policy allows the call: its action on every resource that the call is about. */
export function allows(policy: Policy, call: PolicyCall, tags: InstanceTags = {}): boolean {
  const action = `${call.service}:${call.operation}`;
  return resourcesOf(call, tags).every(({ arn, context }) =>
    policy.Statement.some(
      (statement) =>
        statement.Action.includes(action) &&
        statement.Resource.some((pattern) => matches(pattern, arn)) &&
        Object.entries(statement.Condition?.StringEquals ?? {}).every(([key, wanted]) =>
          wanted.includes(context[key] ?? ''),
        ),
    ),
  );
}

/** Whether a trust policy takes a token with these claims. */
export function trusts(
  { provider, conditions }: { provider: string; conditions: Readonly<Record<string, unknown>> },
  claims: Readonly<Record<string, string>>,
): boolean {
  const issuer = claims.iss?.replace('https://', '') ?? '';
  return (
    provider === `arn:aws:iam::${PSEUDO_PARAMETERS['AWS::AccountId']}:oidc-provider/${issuer}` &&
    Object.entries(conditions).every(([key, wanted]) =>
      oneOrMore.parse(wanted).includes(claims[key.replace(`${issuer}:`, '')] ?? ''),
    )
  );
}

type Resource = { readonly arn: string; readonly context: Readonly<Record<string, string>> };

const PLACE = `${PSEUDO_PARAMETERS['AWS::Region']}:${PSEUDO_PARAMETERS['AWS::AccountId']}`;

/** What a call is about. Source: AWS Service Authorization Reference; where it names no resource, `*`. */
function resourcesOf({ service, operation, input }: PolicyCall, tags: InstanceTags): Resource[] {
  const elasticache = (type: string, member: string) =>
    plain(`arn:aws:elasticache:${PLACE}:${type}:${textOf(input[member]) || '*'}`);
  switch (`${service}:${operation}`) {
    case 'elasticache:DescribeReplicationGroups':
    case 'elasticache:TestMigration':
    case 'elasticache:StartMigration':
    case 'elasticache:CompleteMigration':
      return [elasticache('replicationgroup', 'ReplicationGroupId')];
    case 'elasticache:CreateSnapshot':
      return [elasticache('replicationgroup', 'ReplicationGroupId'), elasticache('snapshot', 'SnapshotName')];
    case 'elasticache:DescribeSnapshots':
      return [elasticache('snapshot', 'SnapshotName')];
    case 'elasticache:DescribeCacheClusters':
      return [elasticache('cluster', 'CacheClusterId')];
    case 'elasticache:DescribeCacheParameters':
    case 'elasticache:ModifyCacheParameterGroup':
      return [elasticache('parametergroup', 'CacheParameterGroupName')];
    case 'ssm:SendCommand':
      return [plain(documentArn(textOf(input.DocumentName))), ...instancesOf(input, tags)];
    case 'ssm:GetParameter':
      return [plain(`arn:aws:ssm:${PLACE}:parameter/${textOf(input.Name).replace(/^\//, '')}`)];
    case 'secretsmanager:GetSecretValue':
      return [plain(`arn:aws:secretsmanager:${PLACE}:secret:${textOf(input.SecretId)}-AbCdEf`)];
    default:
      return [plain('*')];
  }
}

function plain(arn: string): Resource {
  return { arn, context: {} };
}

/** Documents of AWS belong to no account. */
function documentArn(name: string): string {
  const { 'AWS::Region': region, 'AWS::AccountId': account } = PSEUDO_PARAMETERS;
  return `arn:aws:ssm:${region}:${name.startsWith('AWS-') ? '' : account}:document/${name}`;
}

function instancesOf(input: PolicyCall['input'], tags: InstanceTags): Resource[] {
  return z
    .array(z.string())
    .parse(input.InstanceIds)
    .map((id) => ({
      arn: `arn:aws:ec2:${PLACE}:instance/${id}`,
      context: Object.fromEntries(
        Object.entries(tags[id] ?? {}).map(([key, value]) => [`ssm:resourceTag/${key}`, value]),
      ),
    }));
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** `*` and `?` as in policies. */
function matches(pattern: string, text: string): boolean {
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${expression}$`).test(text);
}
