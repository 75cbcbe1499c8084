import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { readEnvironmentProtection } from '../../../src/action/github/environment.ts';

const REVIEWERS = {
  type: 'required_reviewers',
  prevent_self_review: true,
  reviewers: [
    { type: 'User', reviewer: { login: 'ada' } },
    { type: 'Team', reviewer: { slug: 'platform' } },
  ],
};

describe('the protection of an environment', () => {
  it('counts its reviewers', async () => {
    await using github = await startGitHub({
      status: 200,
      body: { protection_rules: [{ type: 'wait_timer' }, REVIEWERS] },
    });
    expect(await github.read('production/cutover ä')).toEqual({
      exists: true,
      reviewers: 2,
      preventSelfReview: true,
    });
    expect(github.requests).toEqual([
      'GET /repos/octo/shop/environments/production%2Fcutover%20%C3%A4 token t0ken',
    ]);
  });

  it('is none without a reviewers rule', async () => {
    await using github = await startGitHub({
      status: 200,
      body: { protection_rules: [{ type: 'branch_policy' }] },
    });
    expect(await github.read('production')).toEqual({
      exists: true,
      reviewers: 0,
      preventSelfReview: undefined,
    });
  });

  it('of one that does not exist is told from one that cannot be read', async () => {
    await using github = await startGitHub({ status: 404, body: { message: 'Not Found' } });
    expect(await github.read('production')).toEqual({ exists: false });
  });

  it.each([
    [401, { message: 'Bad credentials' }],
    [403, { message: 'Resource not accessible by integration' }],
    [500, { message: 'Server Error' }],
    [200, { protection_rules: 'all' }],
  ])('is unreadable after %i %j', async (status, body) => {
    await using github = await startGitHub({ status, body });
    await expect(github.read('production')).rejects.toMatchObject({
      code: 'environment-unreadable',
      message: expect.stringContaining('"production" of octo/shop'),
    });
  });

  it('is unreadable when GitHub is out of reach', async () => {
    const github = await startGitHub({ status: 200, body: {} });
    await github[Symbol.asyncDispose]();
    await expect(github.read('production')).rejects.toMatchObject({ code: 'environment-unreadable' });
  });
});

/** A GitHub that has one answer. */
async function startGitHub({ status, body }: { status: number; body: unknown }) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The stub has no TCP address');
  const apiUrl = `http://127.0.0.1:${address.port}`;
  const { signal } = new AbortController();
  return {
    requests,
    read: (name: string) =>
      readEnvironmentProtection({ token: 't0ken', repository: 'octo/shop', name, apiUrl, signal }),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
