import net from 'node:net';
import { MigrationError } from '../../core/errors.ts';
import type { Access } from './access.ts';

/** A port that takes TCP connections answers within this time. */
const PROBE_TIMEOUT_MS = 3000;

/**
 * Tells a port without TLS from one that is not there.
 *
 * Redis and Valkey without TLS take the first bytes of a handshake for the beginning of a command and wait for the
 * rest: the client only sees a time-out, which would send the user to look at security groups.
 */
export async function explainTlsFailure(access: Access, failure: MigrationError): Promise<MigrationError> {
  const { side, address, tls } = access;
  if (tls === undefined || failure.code !== `${side}-unreachable` || !(await takesConnections(access))) {
    return failure;
  }
  return new MigrationError(
    `${side}-tls-failed`,
    `The ${side} ${address} takes connections but does not answer a TLS handshake: the port has no TLS.`,
    { cause: failure },
  );
}

function takesConnections({ host, port }: Access): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    const settle = (takes: boolean) => {
      socket.destroy();
      resolve(takes);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => settle(false));
    socket.once('connect', () => settle(true));
    // Whatever keeps the connection from being made was told by the failure already.
    socket.once('error', () => settle(false));
  });
}
