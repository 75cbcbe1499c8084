import { type KeyObject, randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { ParameterType } from '@aws-sdk/client-ssm';
import { readDocument } from './command-document.ts';
import { elasticacheService } from './elasticache.ts';
import type { ElastiCacheState } from './elasticache-state.ts';
import { createFaults, type Faults } from './fault-rules.ts';
import { createInstance, type InstanceOptions, type SimulatedInstance } from './instance.ts';
import {
  createReplicationGroup,
  type ReplicationGroupOptions,
  type SimulatedReplicationGroup,
} from './replication-group.ts';
import { type SecretsState, secretsService } from './secrets.ts';
import { injectedFault, listen, type RecordedCall } from './server.ts';
import { ACCOUNT_ID, type Caller, type Service } from './service.ts';
import { type SsmState, ssmService } from './ssm.ts';
import { type Identities, stsService } from './sts.ts';
import { DEFAULT_TIMING, type Timing } from './timing.ts';
import type { WebIdentities, WebIdentityRole } from './web-identity.ts';

/** How to start the simulator. */
export type SimulatorOptions = { region?: string; timing?: Partial<Timing> };

/** One AWS account in one region, reached through `AWS_ENDPOINT_URL`. */
export type Simulator = AsyncDisposable & {
  readonly url: string;
  readonly region: string;
  /** What a process under test needs to reach it with the SDK. */
  readonly env: Record<string, string>;
  /** Every call in order of arrival. */
  readonly calls: readonly RecordedCall[];
  readonly faults: Faults;
  /** Adds a managed instance. */
  addInstance(options?: InstanceOptions): Promise<SimulatedInstance>;
  addReplicationGroup(options: ReplicationGroupOptions): Promise<SimulatedReplicationGroup>;
  putParameter(name: string, value: string, type?: ParameterType): void;
  /** Stores a secret of Secrets Manager. */
  putSecret(name: string, value: string): void;
  /**
   * Makes a command document.
   *
   * @throws Error for content that Systems Manager would not take
   */
  putDocument(name: string, content: unknown): void;
  /** Makes a role with a session of its own and returns what a process needs to call as it. */
  addRole(name: string, allows?: Caller['allows']): Record<string, string>;
  /** Makes an identity provider whose tokens are checked by this key. */
  addIdentityProvider(issuer: string, key: KeyObject): void;
  /** Makes a role that is assumed by a token of a provider, and returns its ARN. */
  addWebIdentityRole(name: string, role: WebIdentityRole): string;
  /**
   * What neither AWS nor a correct client would do: requests and answers that do not fit their schemas, operations
   * that are not served. Taking them clears the list; the dispose throws when some were not taken.
   */
  takeComplaints(): string[];
};

/** Keys that the simulator knows from the start; they open nothing else. */
const ACCESS_KEY_ID = 'AKIASIMULATOREXAMPLE';
const SECRET_ACCESS_KEY = 'simulator/secret/access/key/EXAMPLE';
const CALLER_ARN = `arn:aws:sts::${ACCOUNT_ID}:assumed-role/valkey-migrate/simulator`;

/** Starts the simulator on a free loopback port; everything that it started ends with it. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const region = options.region ?? 'ap-northeast-2';
  const timing: Timing = { ...DEFAULT_TIMING, ...options.timing };
  const end = new AbortController();
  const complaints: string[] = [];
  const calls: RecordedCall[] = [];
  const background = new Set<Promise<void>>();
  const owned = new AsyncDisposableStack();
  const identities: Identities = new Map([
    [ACCESS_KEY_ID, { arn: CALLER_ARN, userId: 'AROAEXAMPLE:simulator' }],
  ]);

  const services: Service[] = [];
  const faults = createFaults((operation, code, message) => {
    const service = services.find((candidate) => candidate.operations.has(operation));
    if (service === undefined) throw new Error(`No simulated service has an operation ${operation}`);
    return injectedFault(service, { operation, code, message });
  });
  const cache = elasticacheState({ timing, signal: end.signal, background, complaints });
  const ssm = ssmState({ region, timing, faults, signal: end.signal });
  const secrets: SecretsState = { region, values: new Map() };
  const webIdentities: WebIdentities = { providers: new Map(), roles: new Map() };
  const sts = stsService(identities, webIdentities);
  services.push(elasticacheService(cache), ssmService(ssm), secretsService(secrets), sts);
  const { url, server } = await listen({ region, services, identities, faults, calls, complaints });

  return {
    url,
    region,
    env: processEnvironment(url, region),
    calls,
    faults,
    addInstance: async (instanceOptions = {}) => {
      const instance = owned.use(await createInstance(instanceOptions, region));
      const { instanceId } = instance;
      if (ssm.instances.has(instanceId)) throw new Error(`There is an instance ${instanceId}`);
      ssm.instances.set(instanceId, instance);
      return instance;
    },
    addReplicationGroup: async (groupOptions) => {
      const arnPrefix = `arn:aws:elasticache:${region}:${ACCOUNT_ID}:replicationgroup:`;
      const group = owned.use(await createReplicationGroup(groupOptions, arnPrefix));
      if (cache.groups.has(group.id)) throw new Error(`There is a replication group ${group.id}`);
      cache.groups.set(group.id, group);
      return group;
    },
    putParameter: (name, value, type = 'String') => ssm.parameters.set(name, { value, type, at: new Date() }),
    putSecret: (name, value) => secrets.values.set(name, value),
    putDocument: (name, content) => ssm.documents.set(name, readDocument(content)),
    addRole: (name, allows) => {
      const accessKeyId = `ASIA${randomBytes(8).toString('hex').toUpperCase()}`;
      const arn = `arn:aws:sts::${ACCOUNT_ID}:assumed-role/${name}/simulator`;
      identities.set(accessKeyId, {
        arn,
        userId: `AROA:${name}`,
        ...(allows === undefined ? {} : { allows }),
      });
      return { ...processEnvironment(url, region), AWS_ACCESS_KEY_ID: accessKeyId };
    },
    addIdentityProvider: (issuer, key) => webIdentities.providers.set(issuer, key),
    addWebIdentityRole: (name, role) => {
      webIdentities.roles.set(name, role);
      return `arn:aws:iam::${ACCOUNT_ID}:role/${name}`;
    },
    takeComplaints: () => complaints.splice(0),
    [Symbol.asyncDispose]: async () => {
      // What breaks because the simulator ends is nobody's mistake: only what was there before counts.
      const untaken = complaints.splice(0);
      end.abort();
      await closeServer(server);
      await Promise.all([...ssm.invocations.values()].map((invocation) => invocation.over));
      // The servers first: work in the background that waits for one of them only ends with it.
      await owned.disposeAsync();
      await Promise.all(background);
      if (untaken.length > 0) throw new Error(`The AWS simulator complains:\n${untaken.join('\n')}`);
    },
  };
}

function processEnvironment(url: string, region: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: url,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY: SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN: 'simulator-session-token',
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function ssmState(parts: Pick<SsmState, 'region' | 'timing' | 'faults' | 'signal'>): SsmState {
  return {
    ...parts,
    instances: new Map(),
    invocations: new Map(),
    documents: new Map(),
    parameters: new Map(),
  };
}

function elasticacheState(parts: {
  timing: Timing;
  signal: AbortSignal;
  background: Set<Promise<void>>;
  complaints: string[];
}): ElastiCacheState {
  const events: ElastiCacheState['events'] = [];
  return {
    timing: parts.timing,
    signal: parts.signal,
    groups: new Map(),
    migrations: new Map(),
    snapshots: new Map(),
    events,
    announce: (group, message) => {
      events.push({
        SourceIdentifier: group.id,
        SourceType: 'replication-group',
        Message: message,
        Date: new Date(),
      });
    },
    inBackground: (work) => {
      const guarded = work
        .catch((error: unknown) => {
          // Work that the end of the simulator cut off has nothing to say any more.
          if (!parts.signal.aborted) parts.complaints.push(String(error));
        })
        .finally(() => parts.background.delete(guarded));
      parts.background.add(guarded);
    },
  };
}
