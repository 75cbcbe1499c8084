import { readFileSync } from 'node:fs';
import { type CfnCreationPolicy, Duration, type Stack, Tags } from 'aws-cdk-lib';
import {
  BlockDeviceVolume,
  EbsDeviceVolumeType,
  Instance,
  InstanceClass,
  InstanceSize,
  InstanceType,
  type ISecurityGroup,
  MachineImage,
  SubnetType,
  UserData,
  type Vpc,
} from 'aws-cdk-lib/aws-ec2';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';

/** The release that most sources have which the online migration of ElastiCache cannot take. */
const REDIS = {
  version: '7.4.6',
  sha256: '73b94484e00fb4c2440b490dc4021142fb0b6efc8b64c6329c10d24f0b531c99',
};

/** How long the host may take to build Redis and to load the sample data. */
const SET_UP_TIME_MAX = Duration.minutes(20);

/** An Amazon Linux instance with Redis from source, sample data and load; the way in is Systems Manager, not SSH. */
export function makeRedisHost(
  stack: Stack,
  {
    vpc,
    securityGroup,
    replicationGroupId,
  }: { vpc: Vpc; securityGroup: ISecurityGroup; replicationGroupId: string },
): Instance {
  const role = new Role(stack, 'HostRole', {
    assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
    managedPolicies: [ManagedPolicy.fromAwsManagedPolicyName('AmazonSSMManagedInstanceCore')],
  });
  const userData = UserData.forLinux();
  const instance = new Instance(stack, 'RedisHost', {
    vpc,
    vpcSubnets: { subnetType: SubnetType.PRIVATE_WITH_EGRESS },
    securityGroup,
    role,
    userData,
    instanceType: InstanceType.of(InstanceClass.T3, InstanceSize.MEDIUM),
    machineImage: MachineImage.latestAmazonLinux2023({ cachedInContext: false }),
    requireImdsv2: true,
    blockDevices: [
      {
        deviceName: '/dev/xvda',
        volume: BlockDeviceVolume.ebs(30, { encrypted: true, volumeType: EbsDeviceVolumeType.GP3 }),
      },
    ],
  });
  // The script tells CloudFormation when Redis answers, and the stack is not complete before.
  instance.instance.cfnOptions.creationPolicy = {
    resourceSignal: { count: 1, timeout: SET_UP_TIME_MAX.toIsoString() },
  } satisfies CfnCreationPolicy;
  userData.addCommands(
    `export STACK_NAME='${stack.stackName}' RESOURCE='${instance.instance.logicalId}' REGION='${stack.region}'`,
    `export REDIS_VERSION='${REDIS.version}' REDIS_SHA256='${REDIS.sha256}'`,
    readFileSync(new URL('host/set-up.sh', import.meta.url), 'utf8'),
  );
  Tags.of(instance).add('valkey-migrate', replicationGroupId);
  return instance;
}
