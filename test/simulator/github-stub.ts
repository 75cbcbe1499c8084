import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

/** A GitHub API that knows environments and approvals, and nothing else. */
export type GithubStub = AsyncDisposable & {
  readonly url: string;
  /** Makes a token for a job; as soon as there is one, nothing is answered without `actions: read`. */
  issueToken(permissions: Readonly<Record<string, string>>): string;
  /** From now on this one has approved every run. */
  approve(login: string, environment: string): void;
};

/**
 * Starts the stub on loopback. `environments` maps names to the number of required reviewers; `approvers` approved every
 * run for the environment `guarded`.
 *
 * Source: GitHub REST API, "Get an environment" and "Get the review history for a workflow run".
 */
export async function startGithubStub(
  environments: Readonly<Record<string, number>>,
  approvers: readonly string[] = [],
): Promise<GithubStub> {
  const approvals = approvers.map((login) => approvalBy(login, 'guarded'));
  const tokens = new Map<string, Readonly<Record<string, string>>>();
  const server = createServer((request, response) => {
    const token = request.headers.authorization?.replace(/^(token|bearer) /i, '') ?? '';
    if (tokens.size > 0 && tokens.get(token)?.actions !== 'read') {
      response.writeHead(403, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ message: 'Resource not accessible by integration' }));
      return;
    }
    if (request.url?.endsWith('/approvals')) {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(approvals));
      return;
    }
    const name = decodeURIComponent(request.url?.split('/').at(-1) ?? '');
    const reviewers = environments[name];
    const rules = reviewers
      ? [{ type: 'required_reviewers', reviewers: Array(reviewers).fill({ type: 'User' }) }]
      : [];
    response.writeHead(reviewers === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(reviewers === undefined ? { message: 'Not Found' } : { name, protection_rules: rules }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the stub has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    issueToken: (permissions) => {
      const token = randomUUID();
      tokens.set(token, permissions);
      return token;
    },
    approve: (login, environment) => {
      approvals.push(approvalBy(login, environment));
    },
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function approvalBy(login: string, environment: string) {
  return { state: 'approved', comment: 'Go.', user: { login }, environments: [{ name: environment }] };
}
