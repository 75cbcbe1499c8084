import { getOctokit } from '@actions/github';
import { z } from 'zod';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Approval } from '../summary/views.ts';
import { SILENT } from './environment.ts';

/** What of GitHub's answer matters. Source: GitHub REST API, "Get the review history for a workflow run". */
const reviewsSchema = z.array(
  z.looseObject({
    state: z.string(),
    comment: z.string().nullish(),
    user: z.looseObject({ login: z.string() }).nullish(),
    environments: z.array(z.looseObject({ name: z.string() })).optional(),
  }),
);

/**
 * Reads who approved the deployments of a run; needs a token with `actions: read`.
 *
 * @throws environment-unreadable, and the signal's reason
 */
export async function readApprovals({
  token,
  repository,
  runId,
  apiUrl,
  signal,
}: {
  token: string;
  /** `owner/name` */
  repository: string;
  runId: string;
  apiUrl: string;
  signal: AbortSignal;
}): Promise<readonly Approval[]> {
  const [owner = '', repo = ''] = repository.split('/');
  try {
    const octokit = getOctokit(token, { log: SILENT, baseUrl: apiUrl });
    const { data } = await octokit.rest.actions.getReviewsForRun({
      owner,
      repo,
      run_id: Number(runId),
      request: { signal },
    });
    return reviewsSchema
      .parse(data)
      .filter(({ state }) => state === 'approved')
      .map(({ user, comment, environments }) => ({
        by: user?.login ?? 'unknown',
        environments: (environments ?? []).map(({ name }) => name),
        comment: (comment ?? '').slice(0, COMMENT_CHARACTERS_MAX),
      }));
  } catch (error) {
    signal.throwIfAborted();
    throw new MigrationError(
      'environment-unreadable',
      `Who approved the run ${runId} of ${repository} could not be read: ${errorText(error)}.`,
      { cause: error },
    );
  }
}

const COMMENT_CHARACTERS_MAX = 200;
