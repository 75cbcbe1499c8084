import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import { type Endpoint, formatAddress, type SecretReference, type Side } from '../../contract/endpoint.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Secret } from '../../core/secret.ts';

/** An endpoint with everything resolved that a connection needs: who, where, with which secret and which trust. */
export type Access = {
  readonly side: Side;
  readonly host: string;
  readonly port: number;
  /** `host:port`, for messages. */
  readonly address: string;
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  /** Undefined: plain TCP. The certificate is always verified. */
  readonly tls: ConnectionOptions | undefined;
};

/** Fetches the secret of an endpoint. */
export type ResolveSecret = (reference: SecretReference, endpoint: Endpoint) => Promise<Secret>;

/**
 * Resolves an endpoint on the host: fetches its password by name and reads its PEM files.
 *
 * @throws secret-unreadable, source-tls-failed, target-tls-failed
 */
export async function resolveAccess(
  side: Side,
  endpoint: Endpoint,
  resolveSecret: ResolveSecret,
): Promise<Access> {
  return {
    side,
    host: endpoint.host,
    port: endpoint.port,
    address: formatAddress(endpoint),
    username: endpoint.username,
    password: endpoint.password === undefined ? undefined : await resolveSecret(endpoint.password, endpoint),
    tls: endpoint.tls ? await tlsOptions(side, endpoint) : undefined,
  };
}

async function tlsOptions(side: Side, endpoint: Endpoint): Promise<ConnectionOptions> {
  const { caFile, clientCertificate: client } = endpoint;
  return {
    ...(caFile === undefined ? {} : { ca: await readPem(side, 'CA file', caFile) }),
    ...(client === undefined
      ? {}
      : {
          cert: await readPem(side, 'client certificate', client.certificateFile),
          key: await readPem(side, 'key of the client certificate', client.keyFile),
        }),
  };
}

async function readPem(side: Side, what: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new MigrationError(
      `${side}-tls-failed`,
      `The ${what} ${file} is not readable: ${errorText(error)}.`,
      { cause: error },
    );
  }
}
