/** The host of the tokens that GitHub gives to jobs. */
export const GITHUB_ISSUER = 'token.actions.githubusercontent.com';

/** Whose tokens a role takes: those of jobs on the branch, or of jobs in the environment. */
export type TrustedJobs = 'branch' | 'environment';

const JOBS: Readonly<Record<TrustedJobs, string>> = {
  branch: 'ref:refs/heads/${Branch}',
  environment: 'environment:${CutoverEnvironment}',
};

/**
 * The subject of those tokens, by the names of owner and repository or by names and ids.
 *
 * A job with an environment names it, any other one its branch. Repositories that were made, renamed or transferred
 * after 2026-07-15 have the ids. Source: GitHub documentation, OpenID Connect reference.
 */
export function tokenSubject(jobs: TrustedJobs, form: 'names' | 'ids'): string {
  const repository =
    form === 'names'
      ? '${GitHubOwner}/${GitHubRepository}'
      : '${GitHubOwner}@${GitHubOwnerId}/${GitHubRepository}@${GitHubRepositoryId}';
  return `repo:${repository}:${JOBS[jobs]}`;
}

/** The trust policy of a role; `provider`, `subject` and `workflows` may be functions of a template. */
export function trustPolicy({
  provider,
  subject,
  workflows,
}: {
  provider: unknown;
  subject: unknown;
  /** The only workflows whose jobs may assume the role. */
  workflows?: unknown;
}): unknown {
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Federated: provider },
        Action: 'sts:AssumeRoleWithWebIdentity',
        Condition: {
          StringEquals: {
            [`${GITHUB_ISSUER}:aud`]: 'sts.amazonaws.com',
            [`${GITHUB_ISSUER}:sub`]: subject,
            ...(workflows === undefined ? {} : { [`${GITHUB_ISSUER}:job_workflow_ref`]: workflows }),
          },
        },
      },
    ],
  };
}
