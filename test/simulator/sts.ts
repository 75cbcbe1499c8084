import { randomBytes } from 'node:crypto';
import * as sts from '@aws-sdk/nested-clients/sts';
import type { StaticOperationSchema } from '@smithy/types';
import { AwsFault, modelledFault } from './fault.ts';
import { ACCOUNT_ID, type Caller, type Checked, errorSchemas, type Service, serve } from './service.ts';

/** Access keys that the simulator accepts, each with the identity behind it. */
export type Identities = Map<string, Caller & { userId: string }>;

const NAMESPACE = 'com.amazonaws.sts';
const DEFAULT_SESSION_SECONDS = 3600;

/**
 * GetCallerIdentity in the layout of the SDK's schemas: the client inside the SDK does not carry it.
 * Members from the STS API reference.
 */
const GetCallerIdentity$: StaticOperationSchema = [
  9,
  NAMESPACE,
  'GetCallerIdentity',
  0,
  [3, NAMESPACE, 'GetCallerIdentityRequest', 0, [], []],
  [3, NAMESPACE, 'GetCallerIdentityResponse', 0, ['UserId', 'Account', 'Arn'], [0, 0, 0]],
];

type CallerIdentity = { UserId: string; Account: string; Arn: string };

/** The Security Token Service: hands out credentials for a web identity and says who a caller is. */
export function stsService(identities: Identities): Service {
  const schemas = errorSchemas(sts).map(
    (schema) => (message: string) => modelledFault('query', schema, message),
  );
  return {
    name: 'sts',
    protocol: 'query',
    xmlNamespace: 'https://sts.amazonaws.com/doc/2011-06-15/',
    modelled: (code, message) => schemas.map((make) => make(message)).find((fault) => fault.code === code),
    operations: new Map([
      serve<sts.AssumeRoleWithWebIdentityRequest, sts.AssumeRoleWithWebIdentityResponse>(
        sts.AssumeRoleWithWebIdentity$,
        (input) => assumeRole(identities, input),
        ['ProviderId', 'PolicyArns', 'Policy'],
      ),
      serve<Record<string, never>, CallerIdentity>(GetCallerIdentity$, (_input, caller) => ({
        UserId: [...identities.values()].find(({ arn }) => arn === caller.arn)?.userId ?? '',
        Account: ACCOUNT_ID,
        Arn: caller.arn,
      })),
    ]),
  };
}

function assumeRole(
  identities: Identities,
  input: Checked<sts.AssumeRoleWithWebIdentityRequest>,
): sts.AssumeRoleWithWebIdentityResponse {
  const role = /^arn:aws:iam::\d{12}:role\/(?:.*\/)?(?<name>[^/]+)$/.exec(input.RoleArn)?.groups?.name;
  if (role === undefined) throw validationError(`${input.RoleArn} is invalid`);
  const seconds = input.DurationSeconds ?? DEFAULT_SESSION_SECONDS;
  if (seconds < 900 || seconds > 43_200) {
    throw validationError(`Value '${seconds}' at 'durationSeconds' must be between 900 and 43200`);
  }
  const claims = readClaims(input.WebIdentityToken);
  const accessKeyId = `ASIA${randomBytes(8).toString('hex').toUpperCase()}`;
  const roleId = `AROA${randomBytes(8).toString('hex').toUpperCase()}:${input.RoleSessionName}`;
  const arn = `arn:aws:sts::${ACCOUNT_ID}:assumed-role/${role}/${input.RoleSessionName}`;
  identities.set(accessKeyId, { arn, userId: roleId });
  return {
    Credentials: {
      AccessKeyId: accessKeyId,
      SecretAccessKey: randomBytes(30).toString('base64'),
      SessionToken: randomBytes(48).toString('base64'),
      Expiration: new Date(Date.now() + seconds * 1000),
    },
    AssumedRoleUser: { AssumedRoleId: roleId, Arn: arn },
    SubjectFromWebIdentityToken: claims.sub,
    Audience: claims.aud,
    Provider: claims.iss,
  };
}

/** Reads the claims of a JSON Web Token; its signature is the identity provider's matter and is not checked. */
function readClaims(token: string): { sub: string; aud: string; iss: string } {
  const payload = token.split('.')[1];
  const refusal = modelledFault(
    'query',
    sts.InvalidIdentityTokenException$,
    'The ID Token provided is not a valid JWT.',
  );
  if (payload === undefined) throw refusal;
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  } catch {
    // Whatever is wrong with the token, STS has one answer.
    throw refusal;
  }
  const text = (name: string) => {
    const value: unknown =
      typeof claims === 'object' && claims !== null
        ? Object.entries(claims).find(([key]) => key === name)?.[1]
        : '';
    return typeof value === 'string' ? value : '';
  };
  return { sub: text('sub'), aud: text('aud'), iss: text('iss') };
}

function validationError(message: string): AwsFault {
  return new AwsFault({ code: 'ValidationError', status: 400, message, messageMember: 'Message' });
}
