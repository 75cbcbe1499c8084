import { createPublicKey, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { createServer } from 'node:http';

/** What a token says of the job that asked for it. */
export type TokenClaims = Readonly<Record<string, string>>;

/** Gives tokens to jobs, as GitHub's identity provider does. */
export type OidcStub = AsyncDisposable & {
  readonly issuer: string;
  /** By which its tokens are checked. */
  readonly publicKey: KeyObject;
  /** Where a job with these claims asks for its tokens, and by which right. */
  open(claims: TokenClaims): { readonly url: string; readonly token: string };
};

/** The issuer of GitHub's tokens; nobody asks it here, the key comes by hand. */
const ISSUER = 'https://token.actions.githubusercontent.com';
const TOKEN_SECONDS = 300;

/** Starts it on loopback. Source: GitHub documentation, OpenID Connect reference. */
export async function startOidcStub(): Promise<OidcStub> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jobs = new Map<string, TokenClaims>();
  const server = createServer((request, response) => {
    const claims = jobs.get(request.headers.authorization?.replace(/^bearer /i, '') ?? '');
    const audience = new URL(request.url ?? '/', 'http://stub').searchParams.get('audience');
    response.writeHead(claims === undefined ? 401 : 200, { 'content-type': 'application/json' });
    const value = claims && makeToken({ ...claims, aud: audience ?? 'https://github.com/acme' }, privateKey);
    response.end(JSON.stringify(value === undefined ? { message: 'Unauthorized' } : { value }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the stub has no port');
  return {
    issuer: ISSUER,
    publicKey: createPublicKey(privateKey),
    open: (claims) => {
      const token = randomUUID();
      jobs.set(token, claims);
      return { url: `http://127.0.0.1:${address.port}/token?api-version=2.0`, token };
    },
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function makeToken(claims: TokenClaims, key: KeyObject): string {
  const now = Math.floor(Date.now() / 1000);
  const body = { ...claims, iss: ISSUER, jti: randomUUID(), iat: now, nbf: now, exp: now + TOKEN_SECONDS };
  const parts = [{ typ: 'JWT', alg: 'RS256' }, body].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  );
  const signature = sign('sha256', Buffer.from(parts.join('.')), key).toString('base64url');
  return [...parts, signature].join('.');
}
