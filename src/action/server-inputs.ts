import { type Endpoint, parseSecretReference, type SecretReference } from '../contract/endpoint.ts';
import { MigrationError } from '../core/errors.ts';
import { contradictory, optional, type ReadInput, readAddress, readFlag, readPath } from './input-readers.ts';

/** The two servers, as far as inputs know them: the address of the target comes from ElastiCache. */
export type ServerInputs = {
  readonly source: Endpoint;
  readonly targetAccess: Pick<Endpoint, 'username' | 'password' | 'caFile'>;
};

/**
 * Reads the two servers; `region`: where AWS keeps the passwords that are named.
 *
 * @throws input-missing, input-malformed, input-contradictory
 */
export function readServers(read: ReadInput, { region }: { readonly region: string }): ServerInputs {
  const tls = readFlag(read, 'source-tls');
  const address = readAddress(read, 'source-endpoint') ?? { host: '127.0.0.1', port: 6379 };
  const caFile = readPath(read, 'source-ca-file');
  const clientCertificate = readClientCertificate(read);
  for (const [name, value] of Object.entries({
    'source-ca-file': caFile,
    'source-client-cert-file': clientCertificate,
  })) {
    if (value !== undefined && !tls)
      throw contradictory(`\`${name}\` is given, but \`source-tls\` is false.`);
  }
  return {
    source: {
      ...address,
      tls,
      ...readCredentials(read, 'source', region),
      ...optional('caFile', caFile),
      ...optional('clientCertificate', clientCertificate),
    },
    targetAccess: {
      ...readCredentials(read, 'target', region),
      ...optional('caFile', readPath(read, 'target-ca-file')),
    },
  };
}

/** ElastiCache asks for none, so only the source has one. */
function readClientCertificate(read: ReadInput): Endpoint['clientCertificate'] {
  const certificateFile = readPath(read, 'source-client-cert-file');
  const keyFile = readPath(read, 'source-client-key-file');
  if (certificateFile === undefined && keyFile === undefined) return undefined;
  if (certificateFile === undefined || keyFile === undefined) {
    throw contradictory(
      'Of `source-client-cert-file` and `source-client-key-file` only one is given: they go together.',
    );
  }
  return { certificateFile, keyFile };
}

function readCredentials(read: ReadInput, side: 'source' | 'target', region: string) {
  const username = read(`${side}-username`);
  const password = readSecret(read, `${side}-password-from`, region);
  return {
    ...optional('username', username === '' ? undefined : username),
    ...optional('password', password),
  };
}

function readSecret(read: ReadInput, name: string, region: string): SecretReference | undefined {
  const text = read(name);
  if (text === '') return undefined;
  const reference = parseSecretReference(text, region);
  if (reference === undefined) {
    // The value is not repeated: somebody may have put the password itself there.
    throw new MigrationError(
      'input-malformed',
      `\`${name}\` is not the name of a secret; expected ssm:/name, secretsmanager:name, file:/path or env:NAME.`,
      { remedy: 'Store the password under a name and give that name; never give the password itself.' },
    );
  }
  return reference;
}
