import type { StaticErrorSchema, StaticOperationSchema } from '@smithy/types';
import { modelledFault } from './fault.ts';
import { ACCOUNT_ID, type Service, serve } from './service.ts';

/** What Secrets Manager knows, by the names of the secrets. */
export type SecretsState = { readonly region: string; readonly values: Map<string, string> };

const NAMESPACE = 'com.amazonaws.secretsmanager';

/**
 * GetSecretValue in the layout of the SDK's schemas: its client is no dependency of ours. Members from the Secrets
 * Manager API reference, as far as the agent and the simulator go.
 */
const GetSecretValue$: StaticOperationSchema = [
  9,
  NAMESPACE,
  'GetSecretValue',
  0,
  [3, NAMESPACE, 'GetSecretValueRequest', 0, ['SecretId'], [0]],
  [3, NAMESPACE, 'GetSecretValueResponse', 0, ['ARN', 'Name', 'SecretString'], [0, 0, 0]],
];
const ResourceNotFound$: StaticErrorSchema = [
  -3,
  NAMESPACE,
  'ResourceNotFoundException',
  { httpError: 400, error: 'client' },
  ['Message'],
  [0],
];

/** Secrets Manager as far as the agent asks it. */
export function secretsService({ region, values }: SecretsState): Service {
  return {
    name: 'secretsmanager',
    protocol: 'json',
    xmlNamespace: '',
    modelled: (code, message) =>
      code === ResourceNotFound$[2] ? modelledFault('json', ResourceNotFound$, message) : undefined,
    operations: new Map([
      serve<{ SecretId?: string }, { ARN: string; Name: string; SecretString: string }>(
        GetSecretValue$,
        ({ SecretId: name = '' }) => {
          const value = values.get(name);
          if (value === undefined) {
            throw modelledFault(
              'json',
              ResourceNotFound$,
              "Secrets Manager can't find the specified secret.",
            );
          }
          const arn = `arn:aws:secretsmanager:${region}:${ACCOUNT_ID}:secret:${name}-AbCdEf`;
          return { ARN: arn, Name: name, SecretString: value };
        },
      ),
    ]),
  };
}
