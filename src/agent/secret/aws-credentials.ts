import { z } from 'zod';
import type { SecretReference } from '../../contract/endpoint.ts';
import { errorText } from '../../core/errors.ts';
import { parseJsonQuietly, type SecretContext, secretUnreadable } from './reading.ts';

/** What signs a call. */
export type AwsCredentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string };

const METADATA_ENDPOINT = 'http://169.254.169.254';
/** The metadata service is on the instance itself: where it does not answer at once there is none. */
const METADATA_TIMEOUT_MS = 2000;
const TOKEN_LIFETIME_S = 60;

const roleCredentialsSchema = z.object({
  AccessKeyId: z.string(),
  SecretAccessKey: z.string(),
  Token: z.string(),
});

/**
 * Finds credentials: the environment's, else those of the instance role by IMDSv2.
 *
 * IMDSv2: `PUT /latest/api/token` gives a token, with which
 * `GET /latest/meta-data/iam/security-credentials/` names the role and `…/<role>` gives its credentials.
 *
 * @throws secret-unreadable, naming the secret that they were needed for
 */
export async function readAwsCredentials(
  reference: SecretReference,
  context: SecretContext,
): Promise<AwsCredentials> {
  const { env } = context;
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = env;
  if (AWS_ACCESS_KEY_ID !== undefined && AWS_SECRET_ACCESS_KEY !== undefined) {
    return {
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      ...(AWS_SESSION_TOKEN === undefined ? {} : { sessionToken: AWS_SESSION_TOKEN }),
    };
  }
  if (env.AWS_EC2_METADATA_DISABLED === 'true') {
    throw secretUnreadable(
      reference,
      'the environment holds no AWS credentials, and AWS_EC2_METADATA_DISABLED is set.',
    );
  }
  try {
    return await readRoleCredentials(context);
  } catch (error) {
    context.signal.throwIfAborted();
    throw secretUnreadable(
      reference,
      `there are no AWS credentials: none in the environment, and none of an instance role (${errorText(error)}).`,
    );
  }
}

async function readRoleCredentials({
  env,
  signal,
  fetch: send = fetch,
}: SecretContext): Promise<AwsCredentials> {
  const base = env.AWS_EC2_METADATA_SERVICE_ENDPOINT ?? METADATA_ENDPOINT;
  const ask = async (method: 'GET' | 'PUT', path: string, headers: Record<string, string>) => {
    const response = await send(new URL(path, base), {
      method,
      headers,
      signal: AbortSignal.any([signal, AbortSignal.timeout(METADATA_TIMEOUT_MS)]),
    });
    const text = await response.text();
    if (!response.ok)
      throw new Error(`the metadata service answered ${response.status} to ${method} ${path}`);
    return text;
  };
  const token = await ask('PUT', '/latest/api/token', {
    'x-aws-ec2-metadata-token-ttl-seconds': String(TOKEN_LIFETIME_S),
  });
  const headers = { 'x-aws-ec2-metadata-token': token };
  const folder = '/latest/meta-data/iam/security-credentials/';
  const role = (await ask('GET', folder, headers)).split('\n')[0]?.trim() ?? '';
  if (role === '') throw new Error('the instance has no role');
  const found = roleCredentialsSchema.safeParse(
    parseJsonQuietly(await ask('GET', `${folder}${role}`, headers)),
  );
  if (!found.success) throw new Error(`the metadata service gave no credentials for the role ${role}`);
  const { AccessKeyId, SecretAccessKey, Token } = found.data;
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token };
}
