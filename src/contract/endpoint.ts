import { z } from 'zod';

/** A sealed text in base64 is not longer; two of them fit into one SSM command. */
const SEALED_BASE64_MAX = 12_000;

/**
 * Where a secret lies. Secrets travel by name and are read on the host, or sealed for the host, so that no password is
 * ever in an SSM parameter, an argument list or a state file.
 */
export const secretReferenceSchema = z.discriminatedUnion('from', [
  z.strictObject({ from: z.literal('ssm'), name: z.string().min(1), region: z.string().min(1) }),
  z.strictObject({
    from: z.literal('secretsmanager'),
    name: z.string().min(1),
    region: z.string().min(1),
    /** The field of a JSON secret; without it the whole text is the secret. */
    field: z.string().min(1).optional(),
  }),
  z.strictObject({ from: z.literal('file'), path: z.string().startsWith('/') }),
  z.strictObject({ from: z.literal('env'), name: z.string().min(1) }),
  /** The value of a variable of the runner, readable by the migration's key on the host; see src/core/sealing.ts. */
  z.strictObject({
    from: z.literal('sealed'),
    name: z.string().min(1),
    sealedBase64: z
      .string()
      .max(SEALED_BASE64_MAX)
      .regex(/^[A-Za-z0-9+/]+={0,2}$/),
  }),
]);
/** See {@link secretReferenceSchema}. */
export type SecretReference = z.infer<typeof secretReferenceSchema>;

/** A Redis or Valkey server as the host reaches it. */
export const endpointSchema = z.strictObject({
  host: z.string().min(1),
  port: z.int().min(1).max(65_535),
  tls: z.boolean(),
  /** A file of PEM certificates on the host to trust instead of the system's. */
  caFile: z.string().startsWith('/').optional(),
  /** PEM files on the host by which the host shows who it is, where the server asks. */
  clientCertificate: z
    .strictObject({ certificateFile: z.string().startsWith('/'), keyFile: z.string().startsWith('/') })
    .optional(),
  username: z.string().min(1).optional(),
  password: secretReferenceSchema.optional(),
});
/** See {@link endpointSchema}. */
export type Endpoint = z.infer<typeof endpointSchema>;

/**
 * What a sealed password is bound to: it opens for this migration, and only to be shown to this server as this user. Who
 * gets hold of the sealed form and may give orders to the host cannot have it sent elsewhere.
 */
export function sealBinding({
  migrationId,
  repository,
  endpoint,
}: {
  migrationId: string;
  repository: string;
  endpoint: Endpoint;
}): string {
  const { tls, caFile = null, username = null } = endpoint;
  return JSON.stringify([migrationId, repository, formatAddress(endpoint), tls, caFile, username]);
}

/** Which of the two servers something is about. */
export type Side = 'source' | 'target';

/** An endpoint as people write it: `host:port`, IPv6 in brackets. */
export function formatAddress(address: { host: string; port: number }): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/**
 * Reads `host`, `host:port` or `[ipv6]:port`; the port is 6379 where none is given.
 *
 * Returns undefined for anything else; the caller knows the name of the input.
 */
export function parseAddress(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?))(?::(\d{1,5}))?$/.exec(
    text,
  );
  const host = match?.[1] ?? match?.[2];
  if (host === undefined) return undefined;
  const port = match?.[3] === undefined ? 6379 : Number(match[3]);
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/**
 * Reads a secret reference as people write it: `ssm:/name`, `secretsmanager:name`, `secretsmanager:name#field`,
 * `file:/path`, `env:NAME`.
 *
 * Returns undefined for anything else. The region is where `ssm` and `secretsmanager` look.
 */
export function parseSecretReference(text: string, region: string): SecretReference | undefined {
  const match = /^(ssm|secretsmanager|file|env):(.+)$/.exec(text);
  const [, from, rest = ''] = match ?? [];
  const [name = '', field] = rest.split('#');
  const candidate = {
    ssm: { from, name: rest, region },
    secretsmanager: { from, name, region, ...(field === undefined ? {} : { field }) },
    file: { from, path: rest },
    env: { from, name: rest },
  }[from ?? ''];
  return secretReferenceSchema.safeParse(candidate).data;
}
