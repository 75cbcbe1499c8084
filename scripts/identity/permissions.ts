import type { Phase } from '../../src/action/inputs.ts';

/** What a permission is about; the ARN of each is in {@link RESOURCE_ARNS}. */
export type ResourceKind =
  | 'group'
  | 'member-clusters'
  | 'parameter-groups'
  | 'notified-parameter-group'
  | 'snapshots'
  | 'document'
  | 'tagged-hosts'
  | 'any';

/** An AWS action that phases call with the role of their job. */
export type Permission = {
  readonly action: `${'elasticache' | 'ssm'}:${string}`;
  /** What it is called for. */
  readonly purpose: string;
  readonly phases: readonly Phase[];
  /** Called on this route only; without it on every one. */
  readonly route?: 'native';
  /** Called only where `reverse` is true. */
  readonly reverse?: true;
  /** Called with this `host` only. */
  readonly host?: 'ssm';
  readonly resources: readonly ResourceKind[];
};

/** The phases by the role that they assume, as `migrate.yml` and `operate.yml` assign them. */
export const ROLE_PHASES = {
  read: ['preflight', 'verify', 'status'],
  change: ['backup', 'start-migration', 'rollback', 'cleanup'],
  cutover: ['complete-migration'],
} as const satisfies Record<string, readonly Phase[]>;
/** A role that a job assumes. */
export type RoleName = keyof typeof ROLE_PHASES;

const EVERY_PHASE: readonly Phase[] = [...ROLE_PHASES.read, ...ROLE_PHASES.change, ...ROLE_PHASES.cutover];
const ALL_BUT_CLEANUP = EVERY_PHASE.filter((phase) => phase !== 'cleanup');

/**
 * Every AWS action of every phase: the one source of the policies, the templates and the documentation.
 *
 * Which resources an action can be bound to: AWS Service Authorization Reference, ElastiCache and Systems Manager.
 * Compared with what the phases really call in test/scenarios/permissions.scenario.ts.
 */
export const PERMISSIONS: readonly Permission[] = [
  {
    action: 'elasticache:DescribeReplicationGroups',
    purpose: 'status and endpoints of the target',
    phases: ALL_BUT_CLEANUP,
    resources: ['group'],
  },
  {
    action: 'elasticache:DescribeCacheClusters',
    purpose: 'engine version of the target; denied, a phase goes on without it',
    phases: ALL_BUT_CLEANUP,
    resources: ['member-clusters'],
  },
  {
    action: 'elasticache:DescribeCacheParameters',
    purpose: 'databases of the target; denied, a phase goes on without them',
    phases: ALL_BUT_CLEANUP,
    resources: ['parameter-groups'],
  },
  {
    action: 'elasticache:ModifyCacheParameterGroup',
    purpose: 'the keyspace notifications of the target, which a way back needs, and what they were',
    phases: ['start-migration', 'rollback', 'complete-migration'],
    reverse: true,
    resources: ['notified-parameter-group'],
  },
  {
    action: 'elasticache:DescribeEvents',
    purpose: 'what ElastiCache says of an online migration',
    phases: ['status', 'start-migration', 'rollback', 'complete-migration'],
    route: 'native',
    resources: ['any'],
  },
  {
    action: 'elasticache:CreateSnapshot',
    purpose: 'the snapshot of the target',
    phases: ['backup'],
    resources: ['group', 'member-clusters', 'snapshots'],
  },
  {
    action: 'elasticache:DescribeSnapshots',
    purpose: 'the proof of that snapshot',
    phases: ['backup'],
    resources: ['snapshots'],
  },
  {
    action: 'elasticache:TestMigration',
    purpose: 'whether the target reaches the source',
    phases: ['start-migration'],
    route: 'native',
    resources: ['group'],
  },
  {
    action: 'elasticache:StartMigration',
    purpose: 'the online migration',
    phases: ['start-migration'],
    route: 'native',
    resources: ['group'],
  },
  {
    action: 'elasticache:CompleteMigration',
    purpose: 'the promotion of the target, and with Force the end of an online migration that is given up',
    phases: ['rollback', 'complete-migration'],
    route: 'native',
    resources: ['group', 'member-clusters'],
  },
  {
    action: 'ssm:DescribeInstanceInformation',
    purpose: 'whether the host is managed, online, and Linux',
    phases: EVERY_PHASE,
    host: 'ssm',
    resources: ['any'],
  },
  {
    action: 'ssm:SendCommand',
    purpose: 'ships the agent and talks to it',
    phases: EVERY_PHASE,
    host: 'ssm',
    resources: ['document', 'tagged-hosts'],
  },
  {
    action: 'ssm:GetCommandInvocation',
    purpose: 'the answer of the agent',
    phases: EVERY_PHASE,
    host: 'ssm',
    resources: ['any'],
  },
  {
    action: 'ssm:CancelCommand',
    purpose: 'takes a command back when the run is cancelled',
    phases: EVERY_PHASE,
    host: 'ssm',
    resources: ['any'],
  },
];

/** The tag that marks the hosts of a migration; its value is the id of the replication group. */
export const HOST_TAG = 'valkey-migrate';

/**
 * ARNs with the placeholders of CloudFormation: pseudo parameters, and parameters of the template.
 *
 * Members are named after their group (`GROUP-001`, in cluster mode `GROUP-0001-001`), snapshots by `backup`.
 */
export const RESOURCE_ARNS: Readonly<Record<ResourceKind, readonly string[]>> = {
  group: [elasticacheArn('replicationgroup', '${ReplicationGroupId}')],
  'member-clusters': [elasticacheArn('cluster', '${ReplicationGroupId}-*')],
  'parameter-groups': [elasticacheArn('parametergroup', '*')],
  'notified-parameter-group': [elasticacheArn('parametergroup', '${ParameterGroup}')],
  snapshots: [elasticacheArn('snapshot', 'valkey-migrate-*')],
  document: [
    'arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:document/valkey-migrate-${ReplicationGroupId}-${Role}',
  ],
  'tagged-hosts': [
    'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*',
    'arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:managed-instance/*',
  ],
  any: ['*'],
};

function elasticacheArn(type: string, name: string): string {
  return ['arn:${AWS::Partition}:elasticache:${AWS::Region}:${AWS::AccountId}', type, name].join(':');
}

/** What the agent calls with the role of the host where passwords lie in AWS, and the parameter that names them. */
export const HOST_SECRETS = [
  {
    action: 'ssm:GetParameter',
    parameter: 'ParameterArn',
    about: 'ARN of the parameter of the Parameter Store that holds a password',
  },
  {
    action: 'secretsmanager:GetSecretValue',
    parameter: 'SecretArn',
    about: 'ARN of the secret of Secrets Manager that holds a password',
  },
  {
    action: 'kms:Decrypt',
    parameter: 'KeyArn',
    about: 'ARN of the KMS key of your own that seals them',
  },
] as const;
