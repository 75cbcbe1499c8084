import { type Endpoint, type SecretReference, sealBinding } from '../../contract/endpoint.ts';
import type { HostCommand } from '../../contract/host-commands.ts';
import type { JobRequest } from '../../contract/jobs.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { sealText } from '../../core/sealing.ts';
import type { Host } from './host.ts';

/** Whose secrets are sealed, and where they are. */
export type SealingOptions = {
  readonly migrationId: string;
  readonly repository: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
};

/**
 * A host to which secrets of this runner travel sealed: the value of a variable is readable only by the private key
 * that the host keeps for this migration, and only for the server that it is meant for. So commands of Systems Manager,
 * and what the host has on its disk, hold nothing else.
 */
export function sealingHost(host: Host, options: SealingOptions): Host {
  const { migrationId, repository } = options;
  let publicKey: Promise<string> | undefined;
  const askPublicKey = () => {
    publicKey ??= host
      .call({ command: 'sealing-key', migrationId, repository })
      .then((reply) => reply.publicKeyBase64);
    return publicKey;
  };
  const sealEndpoint = async (endpoint: Endpoint): Promise<Endpoint> => {
    const { password } = endpoint;
    if (password?.from !== 'env') return endpoint;
    return { ...endpoint, password: seal(password, { endpoint, options, publicKey: await askPublicKey() }) };
  };
  return {
    ...host,
    call: async (command, callOptions) => host.call(await sealCommand(command, sealEndpoint), callOptions),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}

type Seal = (endpoint: Endpoint) => Promise<Endpoint>;

async function sealCommand<Command extends HostCommand>(command: Command, seal: Seal): Promise<Command> {
  if ('job' in command) return { ...command, job: await sealServers(command.job, seal) };
  return await sealServers(command, seal);
}

/** Of a job or a command, the servers that it names. */
async function sealServers<Named extends HostCommand | JobRequest>(named: Named, seal: Seal): Promise<Named> {
  return {
    ...named,
    ...('source' in named ? { source: await seal(named.source) } : {}),
    ...('target' in named ? { target: await seal(named.target) } : {}),
  };
}

function seal(
  { name }: Extract<SecretReference, { from: 'env' }>,
  { endpoint, options, publicKey }: { endpoint: Endpoint; options: SealingOptions; publicKey: string },
): SecretReference {
  const value = options.environment[name];
  if (value === undefined || value === '') {
    throw new MigrationError('secret-unreadable', `The variable ${name} is not set, or is empty.`, {
      remedy: `Give it in the \`env\` of the step, as \`${name}: \${{ secrets.… }}\`.`,
    });
  }
  try {
    const sealedBase64 = sealText(value, { publicKey, binding: sealBinding({ ...options, endpoint }) });
    return { from: 'sealed', name, sealedBase64 };
  } catch (error) {
    throw new MigrationError(
      'secret-unreadable',
      `The variable ${name} cannot be sealed: ${errorText(error)}.`,
    );
  }
}
