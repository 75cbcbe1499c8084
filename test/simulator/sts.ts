import { randomBytes } from 'node:crypto';
import * as sts from '@aws-sdk/nested-clients/sts';
import type { StaticOperationSchema } from '@smithy/types';
import { AwsFault, generalFault, modelledFault } from './fault.ts';
import { ACCOUNT_ID, type Caller, type Checked, errorSchemas, type Service, serve } from './service.ts';
import { readToken, type WebIdentities } from './web-identity.ts';

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
export function stsService(identities: Identities, webIdentities: WebIdentities): Service {
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
        (input) => assumeRole(identities, webIdentities, input),
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
  { providers, roles }: WebIdentities,
  input: Checked<sts.AssumeRoleWithWebIdentityRequest>,
): sts.AssumeRoleWithWebIdentityResponse {
  const name = /^arn:aws:iam::\d{12}:role\/(?:.*\/)?(?<name>[^/]+)$/.exec(input.RoleArn)?.groups?.name;
  if (name === undefined) throw validationError(`${input.RoleArn} is invalid`);
  const seconds = input.DurationSeconds ?? DEFAULT_SESSION_SECONDS;
  if (seconds < 900 || seconds > 43_200) {
    throw validationError(`Value '${seconds}' at 'durationSeconds' must be between 900 and 43200`);
  }
  const claims = readToken(input.WebIdentityToken, providers);
  const role = roles.get(name);
  if (role?.trusts(claims) !== true)
    throw generalFault('AccessDenied', 'Not authorized to perform sts:AssumeRoleWithWebIdentity');
  const accessKeyId = `ASIA${randomBytes(8).toString('hex').toUpperCase()}`;
  const roleId = `AROA${randomBytes(8).toString('hex').toUpperCase()}:${input.RoleSessionName}`;
  const arn = `arn:aws:sts::${ACCOUNT_ID}:assumed-role/${name}/${input.RoleSessionName}`;
  identities.set(accessKeyId, {
    arn,
    userId: roleId,
    ...(role.allows === undefined ? {} : { allows: role.allows }),
  });
  return {
    Credentials: {
      AccessKeyId: accessKeyId,
      SecretAccessKey: randomBytes(30).toString('base64'),
      SessionToken: randomBytes(48).toString('base64'),
      Expiration: new Date(Date.now() + seconds * 1000),
    },
    AssumedRoleUser: { AssumedRoleId: roleId, Arn: arn },
    SubjectFromWebIdentityToken: claims.sub ?? '',
    Audience: claims.aud ?? '',
    Provider: claims.iss ?? '',
  };
}

function validationError(message: string): AwsFault {
  return new AwsFault({ code: 'ValidationError', status: 400, message, messageMember: 'Message' });
}
