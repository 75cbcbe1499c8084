import type { Clock } from '../core/clock.ts';
import { openAwsClients } from './aws/clients.ts';
import { readAgentBundle } from './host/agent-bundle.ts';
import type { Host } from './host/host.ts';
import { openLocalHost } from './host/local-host.ts';
import { sealingHost } from './host/sealing-host.ts';
import { openSsmHost } from './host/ssm-host.ts';
import type { CommonInputs, Inputs } from './inputs.ts';
import type { World } from './phases/phase.ts';

/** What `main` knows of the process and passes on. */
export type WorldOptions = {
  readonly version: string;
  readonly repository: string;
  readonly githubApiUrl: string;
  readonly runId: string | undefined;
  readonly agentPath: string;
  readonly nodePath: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  log(message: string): void;
  /** Hides a value in the log of the runner from here on. */
  mask(value: string): void;
};

/** Looks at ElastiCache: dense at first, since small groups settle fast, then at the pace of its rate limits. */
const ELASTICACHE_POLL_DELAYS_MS = [500, 1000, 2000, 4000, 8000, 15_000];

/** Opens the way to AWS and, at the first call, to the host; both are closed with the world. */
export function openWorld(inputs: Inputs, options: WorldOptions): World & AsyncDisposable {
  const { clock, signal, log, repository, githubApiUrl, runId, version } = options;
  const clients = openAwsClients({ region: inputs.region, version: options.version });
  const variables = secretVariables(inputs);
  for (const name of variables) options.mask(options.environment[name] ?? '');
  let host: Promise<Host> | undefined;
  return {
    elasticache: {
      elasticache: clients.elasticache,
      clock,
      signal,
      log,
      pollDelaysMs: ELASTICACHE_POLL_DELAYS_MS,
    },
    repository,
    githubApiUrl,
    runId,
    tool: { version, agentSha256: async () => (await readAgentBundle(options.agentPath)).sha256 },
    clock,
    signal,
    log,
    openHost: (common) => {
      host ??= openHost(common, { ...options, secretVariables: variables }, clients.ssm);
      return host;
    },
    [Symbol.asyncDispose]: async () => {
      const opened = await host?.catch(() => undefined); // why it did not open was thrown to the phase
      await opened?.[Symbol.asyncDispose]();
      clients[Symbol.dispose]();
    },
  };
}

async function openHost(
  { host, stateDirectory, migrationId }: CommonInputs,
  options: WorldOptions & { secretVariables: readonly string[] },
  ssm: Parameters<typeof openSsmHost>[0]['ssm'],
): Promise<Host> {
  if (host.kind === 'local') return openLocalHost({ ...options, stateDirectory });
  const { kind: _ssm, ...instance } = host;
  const reached = await openSsmHost({ ...options, ssm, ...instance, stateDirectory });
  return sealingHost(reached, { ...options, migrationId });
}

/** The variables that the inputs name as places of secrets: only these reach an agent. */
function secretVariables(inputs: Inputs): string[] {
  if (!('source' in inputs)) return [];
  const references = [inputs.source.password, inputs.targetAccess.password];
  return references.flatMap((reference) => (reference?.from === 'env' ? [reference.name] : []));
}
