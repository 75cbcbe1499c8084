import { randomBytes } from 'node:crypto';
import {
  DescribeInstanceInformationCommand,
  type InstanceInformation,
  type SSMClient,
} from '@aws-sdk/client-ssm';
import { assert } from '../../core/assert.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { type RetryPolicy, retry } from '../../core/retry.ts';
import { formatBytes } from '../../core/units.ts';
import { callAws } from '../aws/aws-error.ts';
import { type AgentBundle, readAgentBundle } from './agent-bundle.ts';
import { decodeReply, encodeRequest, type Host, REQUEST_BASE64_MAX } from './host.ts';
import { base64Value, readScriptOutput, type ScriptValues } from './scripts.ts';
import { COMMAND_POLL_DELAYS_MS, runCommand, type SsmDoor, type SsmOrder, ssmCall } from './ssm-command.ts';
import { requireStateDirectory } from './state-directory.ts';

/** How to reach the agent on an instance. */
export type SsmHostOptions = {
  readonly ssm: SSMClient;
  readonly instanceId: string;
  /** An absolute path on the instance. */
  readonly stateDirectory: string;
  /** Whether Node.js may be installed where it is missing. */
  readonly installNode: boolean;
  /** The document that has the operations in it; without one AWS-RunShellScript gets them as scripts. */
  readonly document?: string;
  /** The built agent on the runner. */
  readonly agentPath: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  log(message: string): void;
  /** Pauses between looks at a command. */
  readonly pollDelaysMs?: readonly number[];
  /** Pauses before a command that got lost is sent again. */
  readonly retryDelaysMs?: readonly number[];
};

const RETRY_DELAYS_MS: readonly number[] = [2000, 10_000, 30_000];
const SHORT_TIMEOUT_SECONDS = 120;
const INSTALL_TIMEOUT_SECONDS = 900;

/** An open way to the instance, before and after the agent is there. */
type Way = SsmDoor & {
  readonly stateDirectory: string;
  readonly agentSha256: string;
  readonly retryDelaysMs: readonly number[];
};

/**
 * Opens the agent on an EC2 instance through Systems Manager: checks the instance, finds or installs Node.js, ships
 * the agent unless it is there already, and says hello to it.
 *
 * @throws input-malformed (state directory), instance-not-managed, instance-offline, instance-platform-unsupported,
 * host-state-unwritable, host-node-missing, host-node-install-failed, agent-corrupt, contract-mismatch, those of
 * every command ({@link runCommand}) and of every AWS call
 */
export async function openSsmHost(options: SsmHostOptions): Promise<Host> {
  requireStateDirectory(options.stateDirectory);
  const bundle = await readAgentBundle(options.agentPath);
  const way: Way = {
    ssm: options.ssm,
    instanceId: options.instanceId,
    clock: options.clock,
    signal: options.signal,
    log: options.log,
    stateDirectory: options.stateDirectory,
    agentSha256: bundle.sha256,
    ...(options.document === undefined ? {} : { document: options.document }),
    pollDelaysMs: options.pollDelaysMs ?? COMMAND_POLL_DELAYS_MS,
    retryDelaysMs: options.retryDelaysMs ?? RETRY_DELAYS_MS,
  };
  const instance = await describeInstance(way);
  const probe = await probeHost(way);
  if (!probe.hasNode) await installNode(way, { allowed: options.installNode, found: probe.foundVersions });
  if (!probe.agentFound) await shipAgent(way, bundle);
  const call = agentCall(way);
  const hello = await call({ command: 'hello' });
  return {
    description: `${way.instanceId} (${hello.hostname}, Node.js ${hello.nodeVersion})`,
    privateAddress: () => instance.IPAddress,
    call,
    // Nothing is held open between commands; the agent stays for the next phase.
    [Symbol.asyncDispose]: async () => {},
  };
}

async function describeInstance(way: Way): Promise<InstanceInformation> {
  const command = new DescribeInstanceInformationCommand({
    Filters: [{ Key: 'InstanceIds', Values: [way.instanceId] }],
  });
  const answer = await callAws(ssmCall(way, 'DescribeInstanceInformation'), () =>
    way.ssm.send(command, { abortSignal: way.signal }),
  );
  const instance = answer.InstanceInformationList?.[0];
  if (instance === undefined) {
    throw new MigrationError('instance-not-managed', `Systems Manager knows no instance ${way.instanceId}.`);
  }
  if (instance.PlatformType !== 'Linux') {
    throw new MigrationError(
      'instance-platform-unsupported',
      `Instance ${way.instanceId} runs ${instance.PlatformName ?? instance.PlatformType ?? 'an unknown platform'}, not Linux.`,
    );
  }
  if (instance.PingStatus !== 'Online') {
    throw new MigrationError(
      'instance-offline',
      `Instance ${way.instanceId} is ${instance.PingStatus ?? 'of unknown status'} in Systems Manager, last seen ${instance.LastPingDateTime?.toISOString() ?? 'never'}.`,
    );
  }
  return instance;
}

type Probe = { hasNode: boolean; foundVersions: string; agentFound: boolean };

async function probeHost(way: Way): Promise<Probe> {
  const output = readScriptOutput(
    await run(way, {
      operation: 'probe',
      values: placeValues(way),
      comment: 'look at the host',
      executionTimeoutSeconds: SHORT_TIMEOUT_SECONDS,
    }),
  );
  if (output.get('state') === 'unwritable') {
    const reason = Buffer.from(output.get('reason_base64') ?? '', 'base64').toString();
    throw new MigrationError(
      'host-state-unwritable',
      `The state directory ${way.stateDirectory} on instance ${way.instanceId} cannot be used: ${reason}.`,
    );
  }
  const agentFound = output.get('agent_found');
  if (agentFound === undefined) {
    throw new MigrationError('host-reply-malformed', `Instance ${way.instanceId} did not say what is on it.`);
  }
  return { ...readNode(output), agentFound: agentFound === 'yes' };
}

function readNode(output: ReadonlyMap<string, string>): Pick<Probe, 'hasNode' | 'foundVersions'> {
  return {
    hasNode: (output.get('node_version') ?? '') !== '',
    foundVersions: output.get('found_versions') ?? '',
  };
}

/** What every operation is told: where things lie, and which agent they are about. */
function placeValues({ stateDirectory, agentSha256 }: Way): ScriptValues {
  return {
    state_directory_base64: base64Value(stateDirectory),
    agent_sha256: { token: agentSha256 },
  };
}

async function installNode(way: Way, { allowed, found }: { allowed: boolean; found: string }): Promise<void> {
  if (!allowed) {
    const there = found === '' ? 'no Node.js' : `only Node.js ${found}`;
    throw new MigrationError('host-node-missing', `Instance ${way.instanceId} has ${there}.`);
  }
  way.log(`Installing Node.js on ${way.instanceId} with its package manager.`);
  const order = {
    operation: 'install-node',
    values: placeValues(way),
    comment: 'install Node.js',
    executionTimeoutSeconds: INSTALL_TIMEOUT_SECONDS,
  } as const;
  const output = readScriptOutput(await run(way, order));
  const { hasNode, foundVersions } = readNode(output);
  if (hasNode) return;
  const there = foundVersions === '' ? 'there is none' : `there is only ${foundVersions}`;
  throw new MigrationError(
    'host-node-install-failed',
    output.get('installed') === 'yes'
      ? `The package manager of instance ${way.instanceId} installed Node.js, but of version 20 or later ${there}.`
      : `The package manager of instance ${way.instanceId} could not install Node.js.`,
  );
}

async function shipAgent(way: Way, bundle: AgentBundle): Promise<void> {
  const last = partNumber(bundle.partsBase64.length - 1);
  const shipment = randomBytes(8).toString('hex');
  way.log(
    `Shipping the agent (${formatBytes(bundle.sizeBytes)}) to ${way.instanceId} in ${bundle.partsBase64.length} parts.`,
  );
  let outcome = '';
  for (const [index, part] of bundle.partsBase64.entries()) {
    const values: ScriptValues = {
      ...placeValues(way),
      shipment: { token: shipment },
      part_number: { token: partNumber(index) },
      last_part_number: { token: last },
      part_base64: { base64: part },
    };
    const order = {
      operation: 'store-part',
      values,
      comment: 'ship the agent',
      executionTimeoutSeconds: SHORT_TIMEOUT_SECONDS,
    } as const;
    outcome = (await run(way, order)).trim();
    if (outcome === 'stored') return;
  }
  throw new MigrationError(
    'agent-corrupt',
    `The agent that arrived on instance ${way.instanceId} does not have the checksum ${bundle.sha256} (${outcome}).`,
  );
}

/** Of a fixed width, so that the shell's `part-*` lists the parts in order. */
function partNumber(index: number): string {
  return String(index).padStart(4, '0');
}

function agentCall(way: Way): Host['call'] {
  return async (command, { signal = way.signal } = {}) => {
    const request = base64Value(encodeRequest(command));
    assert(
      'base64' in request && request.base64.length <= REQUEST_BASE64_MAX,
      `the request ${command.command} is too long`,
    );
    const order = {
      operation: 'call-agent',
      values: { ...placeValues(way), request_base64: request },
      comment: `call ${command.command}`,
      executionTimeoutSeconds: SHORT_TIMEOUT_SECONDS,
    } as const;
    return decodeReply(command.command, await run({ ...way, signal }, order));
  };
}

/** Runs a script that may be repeated, again when it got lost or was killed on the way. */
async function run(way: Way, order: SsmOrder): Promise<string> {
  const policy: RetryPolicy = {
    delaysMs: way.retryDelaysMs,
    shouldRetry: (error) => {
      const isRepeated = wasLost(error);
      if (isRepeated) way.log(`${errorText(error)} Sending it again.`);
      return isRepeated;
    },
  };
  return await retry(() => runCommand(way, order), { policy, ...way });
}

/** A reboot of the host shows as a killed script, as a lost command, or as an instance that is away for a minute. */
function wasLost(error: unknown): boolean {
  if (!isMigrationError(error)) return false;
  if (error.code === 'command-failed') return error.retryable;
  return error.code === 'command-undeliverable' || error.code === 'instance-not-managed';
}
