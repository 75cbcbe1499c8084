import { readFile } from 'node:fs/promises';
import type { SecretReference } from '../../contract/endpoint.ts';
import { assertNever } from '../../core/assert.ts';
import { errorText } from '../../core/errors.ts';
import { Secret } from '../../core/secret.ts';
import { readParameter, readSecretsManagerSecret } from './aws-secret.ts';
import { type SecretContext, secretUnreadable } from './reading.ts';
import { openSealedSecret } from './sealing-key.ts';

/**
 * Fetches a secret by its name, on the host, or opens one that was sealed for it.
 *
 * Neither the messages nor the causes of its errors hold any part of the value.
 *
 * @throws secret-unreadable
 */
export async function resolveSecret(reference: SecretReference, context: SecretContext): Promise<Secret> {
  const value = await readValue(reference, context);
  if (value === '') throw secretUnreadable(reference, 'it is empty.');
  return new Secret(value);
}

async function readValue(reference: SecretReference, context: SecretContext): Promise<string> {
  switch (reference.from) {
    case 'file':
      return readSecretFile(reference);
    case 'env': {
      const value = context.env[reference.name];
      if (value === undefined) throw secretUnreadable(reference, 'the variable is not set.');
      return value;
    }
    case 'sealed':
      return openSealedSecret(reference, context.use);
    case 'ssm':
      return readParameter(reference, context);
    case 'secretsmanager':
      return readSecretsManagerSecret(reference, context);
    default:
      return assertNever(reference);
  }
}

async function readSecretFile(reference: Extract<SecretReference, { from: 'file' }>): Promise<string> {
  try {
    // Editors and `echo` end a file with a newline that is no part of the password; only one, in case it is.
    return (await readFile(reference.path, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    throw secretUnreadable(reference, errorText(error));
  }
}
