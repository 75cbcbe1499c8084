import { type KeyObject, verify } from 'node:crypto';
import * as sts from '@aws-sdk/nested-clients/sts';
import { z } from 'zod';
import { modelledFault } from './fault.ts';
import type { Caller } from './service.ts';

/** What a token says; text members only. */
export type Claims = Readonly<Record<string, string>>;

/** A role that jobs assume by a token of their own. */
export type WebIdentityRole = {
  /** What the trust policy says to a token whose signature and time are good. */
  trusts(claims: Claims): boolean;
  /** What the policies of the role say; without it everything is allowed. */
  readonly allows?: Caller['allows'];
};

/** Who may become whom by a token. */
export type WebIdentities = {
  /** The keys by which tokens are checked, by their issuers. */
  readonly providers: Map<string, KeyObject>;
  readonly roles: Map<string, WebIdentityRole>;
};

const headSchema = z.looseObject({ alg: z.literal('RS256') });
const bodySchema = z.looseObject({ iss: z.string(), aud: z.string(), sub: z.string(), exp: z.number() });

/**
 * The claims of a JSON Web Token.
 *
 * @throws AwsFault InvalidIdentityToken or ExpiredToken
 */
export function readToken(token: string, providers: WebIdentities['providers']): Claims {
  const [head = '', body = '', signature = ''] = token.split('.');
  const isHead = headSchema.safeParse(decode(head)).success;
  const claims = bodySchema.safeParse(decode(body));
  if (!isHead || !claims.success) throw invalid('The ID Token provided is not a valid JWT.');
  const key = providers.get(claims.data.iss);
  if (key === undefined)
    throw invalid(`No OpenIDConnect provider found in your account for ${claims.data.iss}`);
  if (!verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url')))
    throw invalid('The signature of the ID Token does not match.');
  if (claims.data.exp * 1000 < Date.now())
    throw modelledFault('query', sts.ExpiredTokenException$, 'Token expired.');
  const texts = Object.entries(claims.data).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return Object.fromEntries(texts);
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString());
  } catch {
    // Whatever is wrong with the token, STS has one answer.
    return undefined;
  }
}

function invalid(message: string) {
  return modelledFault('query', sts.InvalidIdentityTokenException$, message);
}
