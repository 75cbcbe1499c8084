import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** Paths of PEM files for a server on the loopback; removed with `await using`. */
export type TlsFiles = AsyncDisposable & {
  /** The certificate of the authority, for clients to trust. */
  readonly ca: string;
  /** The server's certificate, valid for 127.0.0.1 and localhost. */
  readonly certificate: string;
  readonly key: string;
};

const run = promisify(execFile);

/** Makes an authority of its own and a server certificate signed by it; needs `openssl` on PATH. */
export async function createTlsFiles(): Promise<TlsFiles> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-tls-'));
  const file = (name: string) => path.join(directory, name);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const openssl = (args: readonly string[]) => run('openssl', args, { timeout: 30_000 });
  const dispose = () => rm(directory, { recursive: true, force: true });
  try {
    await writeFile(file('extensions'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    const authority = ['-subj', '/CN=valkey-migrate test authority', '-days', '2', '-out', file('ca.crt')];
    await openssl(['req', '-x509', ...newKey, '-keyout', file('ca.key'), ...authority]);
    const request = ['-subj', '/CN=127.0.0.1', '-out', file('server.csr')];
    await openssl(['req', ...newKey, '-keyout', file('server.key'), ...request]);
    const signing = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '2'];
    const output = ['-extfile', file('extensions'), '-out', file('server.crt')];
    await openssl(['x509', '-req', '-in', file('server.csr'), ...signing, ...output]);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    ca: file('ca.crt'),
    certificate: file('server.crt'),
    key: file('server.key'),
    [Symbol.asyncDispose]: dispose,
  };
}
