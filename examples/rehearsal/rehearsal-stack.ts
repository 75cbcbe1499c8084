import { BootstraplessSynthesizer, CfnOutput, Stack, Tags } from 'aws-cdk-lib';
import { type ISecurityGroup, Port, SecurityGroup, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { CfnReplicationGroup, CfnSubnetGroup } from 'aws-cdk-lib/aws-elasticache';
import type { Construct } from 'constructs';
import { makeRedisHost } from './redis-host.ts';

/** What the two variants differ in. */
export type RehearsalOptions = {
  /** Lower case; also the value of the tag by which a role of templates/identity.yaml reaches the host. */
  readonly replicationGroupId: string;
  readonly transitEncryption: boolean;
};

const REDIS_PORT = 6379;

/** A source and a target as a migration finds them, with nothing reachable from outside of the VPC. */
export class RehearsalStack extends Stack {
  constructor(scope: Construct, id: string, { replicationGroupId, transitEncryption }: RehearsalOptions) {
    super(scope, id, {
      // There are no assets, so the account needs no preparation.
      synthesizer: new BootstraplessSynthesizer(),
      description: `Rehearsal of a migration to ElastiCache for Valkey ${transitEncryption ? 'with' : 'without'} transit encryption`,
    });
    Tags.of(this).add('purpose', 'valkey-migrate-rehearsal');
    const vpc = makeVpc(this);
    const sourceGroup = new SecurityGroup(this, 'SourceSecurityGroup', { vpc, description: 'Redis on EC2' });
    const targetGroup = new SecurityGroup(this, 'TargetSecurityGroup', { vpc, description: 'ElastiCache' });
    // Both ways: the host writes to the target, and on the route native the nodes of the target read from the source.
    targetGroup.addIngressRule(sourceGroup, Port.tcp(REDIS_PORT), 'the host to the target');
    sourceGroup.addIngressRule(targetGroup, Port.tcp(REDIS_PORT), 'the target to the source');

    const instance = makeRedisHost(this, { vpc, securityGroup: sourceGroup, replicationGroupId });
    const target = makeTarget(this, {
      vpc,
      securityGroup: targetGroup,
      replicationGroupId,
      transitEncryption,
    });

    new CfnOutput(this, 'RedisInstanceId', { value: instance.instanceId });
    new CfnOutput(this, 'RedisPrivateIp', { value: instance.instancePrivateIp });
    new CfnOutput(this, 'ValkeyPrimaryEndpoint', {
      value: `${target.attrPrimaryEndPointAddress}:${target.attrPrimaryEndPointPort}`,
    });
    new CfnOutput(this, 'ValkeyReplicationGroupId', { value: target.ref });
  }
}

/** Two zones, because Multi-AZ needs them; one NAT gateway, because a rehearsal can do without for an hour. */
function makeVpc(stack: Stack): Vpc {
  return new Vpc(stack, 'Vpc', {
    maxAzs: 2,
    natGateways: 1,
    subnetConfiguration: [
      { name: 'public', subnetType: SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
      { name: 'private', subnetType: SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 24 },
    ],
  });
}

function makeTarget(
  stack: Stack,
  {
    vpc,
    securityGroup,
    replicationGroupId,
    transitEncryption,
  }: RehearsalOptions & { vpc: Vpc; securityGroup: ISecurityGroup },
): CfnReplicationGroup {
  const subnets = new CfnSubnetGroup(stack, 'SubnetGroup', {
    description: 'Private subnets of the rehearsal',
    subnetIds: vpc.selectSubnets({ subnetType: SubnetType.PRIVATE_WITH_EGRESS }).subnetIds,
  });
  return new CfnReplicationGroup(stack, 'Target', {
    replicationGroupId,
    replicationGroupDescription: 'Target of a rehearsed migration',
    engine: 'valkey',
    engineVersion: '8.2',
    cacheNodeType: 'cache.t3.medium',
    // A primary and a replica.
    numCacheClusters: 2,
    automaticFailoverEnabled: true,
    multiAzEnabled: true,
    port: REDIS_PORT,
    atRestEncryptionEnabled: true,
    transitEncryptionEnabled: transitEncryption,
    ...(transitEncryption ? { transitEncryptionMode: 'required' } : {}),
    // A snapshot window that opens during a migration would take the group out of `available`.
    snapshotRetentionLimit: 0,
    autoMinorVersionUpgrade: false,
    cacheSubnetGroupName: subnets.ref,
    securityGroupIds: [securityGroup.securityGroupId],
  });
}
