import { getOctokit } from '@actions/github';
import { z } from 'zod';
import { errorText, MigrationError } from '../../core/errors.ts';

/** Whether and how an environment is guarded. */
export type EnvironmentProtection =
  /** GitHub would make it on first use, without any rule: an open gate. */
  | { readonly exists: false }
  | {
      readonly exists: true;
      /** People and teams that may approve; 0 when there is no such rule. */
      readonly reviewers: number;
      /** Undefined when there is no reviewers rule. */
      readonly preventSelfReview: boolean | undefined;
    };

/** What of GitHub's answer matters. Source: GitHub REST API, "Get an environment". */
const environmentSchema = z.looseObject({
  protection_rules: z
    .array(
      z.looseObject({
        type: z.string(),
        reviewers: z.array(z.unknown()).optional(),
        prevent_self_review: z.boolean().optional(),
      }),
    )
    .optional(),
});

/**
 * Reads the protection of an environment; needs a token with `actions: read`.
 *
 * @throws environment-unreadable (401, 403, network, or an answer that is not understood), and the signal's reason
 */
export async function readEnvironmentProtection({
  token,
  repository,
  name,
  apiUrl,
  signal,
}: {
  token: string;
  /** `owner/name` */
  repository: string;
  name: string;
  /** Without it what the runner says in `GITHUB_API_URL`. */
  apiUrl?: string;
  signal: AbortSignal;
}): Promise<EnvironmentProtection> {
  const subject = `The environment ${JSON.stringify(name)} of ${repository}`;
  const [owner = '', repo = ''] = repository.split('/');
  let data: unknown;
  try {
    const octokit = getOctokit(token, { log: SILENT, ...(apiUrl === undefined ? {} : { baseUrl: apiUrl }) });
    const answer = await octokit.rest.repos.getEnvironment({
      owner,
      repo,
      environment_name: name,
      request: { signal },
    });
    data = answer.data;
  } catch (error) {
    signal.throwIfAborted();
    if (httpStatus(error) === 404) return { exists: false };
    throw new MigrationError('environment-unreadable', `${subject} could not be read: ${errorText(error)}.`, {
      cause: error,
    });
  }
  const environment = environmentSchema.safeParse(data);
  if (!environment.success) {
    throw new MigrationError(
      'environment-unreadable',
      `${subject} could not be read: ${z.prettifyError(environment.error)}.`,
    );
  }
  const rule = environment.data.protection_rules?.find(({ type }) => type === 'required_reviewers');
  return {
    exists: true,
    reviewers: rule?.reviewers?.length ?? 0,
    preventSelfReview: rule?.prevent_self_review,
  };
}

/** Octokit would print requests and failures on its own; the phase tells what matters. */
export const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function httpStatus(error: unknown): number | undefined {
  return error instanceof Error && 'status' in error && typeof error.status === 'number'
    ? error.status
    : undefined;
}
