import { createServer } from 'node:http';

/** A GitHub API that knows environments and approvals, and nothing else. */
export type GithubStub = AsyncDisposable & { readonly url: string };

/**
 * Starts the stub on loopback. `environments` maps names to the number of required reviewers; `approvers` approved every
 * run.
 *
 * Source: GitHub REST API, "Get an environment" and "Get the review history for a workflow run".
 */
export async function startGithubStub(
  environments: Readonly<Record<string, number>>,
  approvers: readonly string[] = [],
): Promise<GithubStub> {
  const server = createServer((request, response) => {
    if (request.url?.endsWith('/approvals')) {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(approvers.map(approvalBy)));
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
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function approvalBy(login: string) {
  return { state: 'approved', comment: 'Go.', user: { login }, environments: [{ name: 'guarded' }] };
}
