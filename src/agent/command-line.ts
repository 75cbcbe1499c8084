import { parseArgs } from 'node:util';
import type { z } from 'zod';
import { type Endpoint, parseAddress, parseSecretReference, type Side } from '../contract/endpoint.ts';
import { migrationIdSchema } from '../contract/host-commands.ts';
import {
  type JobKind,
  type JobRequest,
  jobKindSchema,
  keyDisplaySchema,
  preflightRequestSchema,
  repairModeSchema,
  SOURCE_BYTES_PER_SECOND_LEAST,
  TARGET_COMMANDS_PER_SECOND_LEAST,
  verifyScopeSchema,
} from '../contract/jobs.ts';
import { hashFieldTtlSchema } from '../contract/skipped.ts';
import { errorText, MigrationError } from '../core/errors.ts';
import { parseBytes } from '../core/units.ts';
import { ACCESS_LEVELS, type AccessLevel } from './host/access.ts';
import type { Supervisor } from './job/spawn.ts';

/** What the agent was asked to do. */
export type Invocation =
  | { verb: 'help' }
  | {
      verb: 'host';
      stateDirectory: string;
      supervisor: Supervisor | undefined;
      access: AccessLevel | undefined;
      /** What the document says of passwords; see host/password-servers.ts. */
      passwordServers: string | undefined;
    }
  | { verb: 'job' | 'resume'; kind: JobKind; migrationDirectory: string }
  | { verb: 'run'; stateDirectory: string; migrationId: string; request: JobRequest; isJson: boolean }
  | { verb: 'status' | 'stop'; stateDirectory: string; migrationId: string; kind: JobKind | undefined }
  | { verb: 'ping'; endpoints: { side: Side; endpoint: Endpoint }[]; count: number };

/** What `help` prints. */
export const USAGE = `valkey-migrate agent: moves a Redis into Valkey and proves the two equal.

  preflight --source A --target A   look at both, choose a route
  sync      --source A --target A   copy, then follow, until it is stopped (SIGTERM or \`stop\`)
  verify    --source A --target A   compare every key of both, in both directions
  ping      --source A --target A   round-trip times
  status | stop [--job KIND]        of the migration in the state directory

Addresses are host:port, of a cluster any of its nodes. Options for either side (--source-…, --target-…):
  -username NAME   -password-from file:/path | env:NAME | ssm:/name | secretsmanager:name[#field]
  -tls             -ca-file /path/to/ca.pem
  -client-cert-file /path/to/cert.pem   -client-key-file /path/to/key.pem
Other options:
  --migration-id ID        (default: manual)      --state-directory DIR (default: /var/lib/valkey-migrate)
  --flush-target           empty the target before the copy
  --spool-max-bytes N      the most that may wait on disk for the target (default: what the disk has)
  --tune-source            change settings of the source for the time of the sync
  --max-source-load N      bytes per second that the copy takes at most, such as 50MB
  --max-target-ops N       commands per second that the target gets at most
  --route auto|native|replica|scan (of sync: replica unless it is scan)   --canary-write
  --max-differences N      (default: 0)           --ttl-tolerance-ms N (default: 1000)
  --key-display shown|hashed|hidden (default: shown)   --count N (pings, default: 100)
  --scope full|delta       of verify: all keys, or those that a running sync has seen
                           change since the last full one (default: full)
  --hash-field-ttl refuse|keep-values   for targets before Valkey 9 (default: refuse)

  --json                   verify: the whole report as JSON instead of words
  --repair differences | differences-and-extras
                           verify: write on the target anew what differs or misses; remove extra keys too;
                           then verify that again (default: nothing is changed)

Exit status: 0 done and good, 1 done and not good (different, keys skipped,
findings that fail), 2 could not be done or could not tell.
Progress goes to stderr, the result to stdout: of verify in words, of all others as JSON.
verify compares any two Redis or Valkey servers or clusters, with or without a sync. It writes every
key that differs to differences-ID.ndjson in the folder of the migration in the state directory.
`;

const OPTIONS = {
  source: { type: 'string' },
  'source-username': { type: 'string' },
  'source-password-from': { type: 'string' },
  'source-tls': { type: 'boolean' },
  'source-ca-file': { type: 'string' },
  'source-client-cert-file': { type: 'string' },
  'source-client-key-file': { type: 'string' },
  target: { type: 'string' },
  'target-username': { type: 'string' },
  'target-password-from': { type: 'string' },
  'target-tls': { type: 'boolean' },
  'target-ca-file': { type: 'string' },
  'target-client-cert-file': { type: 'string' },
  'target-client-key-file': { type: 'string' },
  'migration-id': { type: 'string', default: 'manual' },
  'state-directory': { type: 'string', default: '/var/lib/valkey-migrate' },
  'state-directory-base64': { type: 'string' },
  supervisor: { type: 'string' },
  access: { type: 'string' },
  'password-servers-base64': { type: 'string' },
  job: { type: 'string' },
  'flush-target': { type: 'boolean', default: false },
  'spool-max-bytes': { type: 'string' },
  'tune-source': { type: 'boolean', default: false },
  'max-source-load': { type: 'string' },
  'max-target-ops': { type: 'string' },
  'canary-write': { type: 'boolean', default: false },
  route: { type: 'string', default: 'auto' },
  'max-differences': { type: 'string', default: '0' },
  'ttl-tolerance-ms': { type: 'string', default: '1000' },
  'key-display': { type: 'string', default: 'shown' },
  'hash-field-ttl': { type: 'string', default: 'refuse' },
  scope: { type: 'string', default: 'full' },
  repair: { type: 'string' },
  json: { type: 'boolean', default: false },
  count: { type: 'string', default: '100' },
} as const;

type Options = ReturnType<typeof parse>['values'];

/**
 * Reads the arguments and the region (for secrets by name) into what is to be done.
 *
 * @throws input-missing, input-malformed
 */
export function parseInvocation(argv: readonly string[], region: string): Invocation {
  const { values, positionals } = parse(argv);
  const [verb = 'help', ...rest] = positionals;
  const stateDirectory = decoded(values['state-directory-base64']) ?? values['state-directory'];
  switch (verb) {
    case 'help':
      return { verb };
    case 'host':
      return {
        verb,
        stateDirectory,
        supervisor: values.supervisor === 'process' ? 'process' : undefined,
        access: accessLevel(values),
        passwordServers: decoded(values['password-servers-base64']),
      };
    case 'job':
    case 'resume':
      return {
        verb,
        kind: jobKind(rest[0]),
        migrationDirectory: rest[1] ?? missing('the folder of the migration'),
      };
    case 'preflight':
    case 'sync':
    case 'verify':
      return {
        verb: 'run',
        stateDirectory,
        migrationId: migrationId(values),
        request: requestOf(verb, values, region),
        isJson: values.json,
      };
    case 'status':
    case 'stop':
      return {
        verb,
        stateDirectory,
        migrationId: migrationId(values),
        kind: values.job === undefined ? undefined : jobKind(values.job),
      };
    case 'ping':
      return { verb, endpoints: givenEndpoints(values, region), count: count(values, 'count') };
    default:
      throw new MigrationError('input-malformed', `The agent has no verb "${verb}".`, {
        remedy: 'Run it with `help` for the verbs.',
      });
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new MigrationError('input-malformed', errorText(error), { cause: error });
  }
}

function requestOf(verb: 'preflight' | 'sync' | 'verify', values: Options, region: string): JobRequest {
  const pair = { source: endpoint('source', values, region), target: endpoint('target', values, region) };
  const flushTarget = values['flush-target'];
  const keyDisplay = choice(values, 'key-display', keyDisplaySchema);
  const hashFieldTtl = choice(values, 'hash-field-ttl', hashFieldTtlSchema);
  if (verb === 'sync') {
    const spoolBytesMax =
      values['spool-max-bytes'] === undefined ? undefined : count(values, 'spool-max-bytes');
    return {
      kind: 'sync',
      ...pair,
      ...(values.route === 'scan' ? { route: 'scan' } : {}),
      flushTarget,
      hashFieldTtl,
      keyDisplay,
      ...(spoolBytesMax === undefined ? {} : { spoolBytesMax }),
      tuneSource: values['tune-source'],
      ...sourceLimit(values),
      ...targetLimit(values),
    };
  }
  if (verb === 'preflight') {
    const route = choice(values, 'route', preflightRequestSchema.shape.route);
    const canaryWrite = values['canary-write'];
    return {
      kind: 'preflight',
      ...pair,
      route,
      flushTarget,
      hashFieldTtl,
      canaryWrite,
      allowNativeRdbVersion: false,
      tuneSource: values['tune-source'],
      ...sourceLimit(values),
    };
  }
  return {
    kind: 'verify',
    ...pair,
    scope: choice(values, 'scope', verifyScopeSchema),
    maxDifferences: count(values, 'max-differences'),
    ttlToleranceMs: count(values, 'ttl-tolerance-ms'),
    keyDisplay,
    hashFieldTtl,
    ...(values.repair === undefined ? {} : { repair: choice(values, 'repair', repairModeSchema) }),
  };
}

function sourceLimit(values: Options): { sourceBytesPerSecondMax?: number } {
  const text = values['max-source-load'];
  if (text === undefined) return {};
  const bytes = parseBytes(text);
  if (bytes === undefined || bytes < SOURCE_BYTES_PER_SECOND_LEAST) {
    throw malformed(
      '--max-source-load',
      text,
      `bytes such as 50MB or 20MiB, at least ${SOURCE_BYTES_PER_SECOND_LEAST}`,
    );
  }
  return { sourceBytesPerSecondMax: bytes };
}

function targetLimit(values: Options): { targetCommandsPerSecondMax?: number } {
  const text = values['max-target-ops'];
  if (text === undefined) return {};
  const commands = count(values, 'max-target-ops');
  if (commands < TARGET_COMMANDS_PER_SECOND_LEAST) {
    throw malformed('--max-target-ops', text, `at least ${TARGET_COMMANDS_PER_SECOND_LEAST}`);
  }
  return { targetCommandsPerSecondMax: commands };
}

function givenEndpoints(values: Options, region: string): { side: Side; endpoint: Endpoint }[] {
  const sides = (['source', 'target'] as const).filter((side) => values[side] !== undefined);
  if (sides.length === 0) missing('--source or --target');
  return sides.map((side) => ({ side, endpoint: endpoint(side, values, region) }));
}

function endpoint(side: Side, values: Options, region: string): Endpoint {
  const text = values[side] ?? missing(`--${side}`);
  const address = parseAddress(text);
  if (address === undefined) throw malformed(`--${side}`, text, 'host:port');
  const username = values[`${side}-username`];
  const clientCertificate = givenCertificate(side, values);
  const caFile = values[`${side}-ca-file`];
  const passwordFrom = values[`${side}-password-from`];
  const password = passwordFrom === undefined ? undefined : parseSecretReference(passwordFrom, region);
  if (passwordFrom !== undefined && password === undefined) {
    throw malformed(
      `--${side}-password-from`,
      passwordFrom,
      'file:/path, env:NAME, ssm:/name or secretsmanager:name',
    );
  }
  return {
    ...address,
    tls: values[`${side}-tls`] ?? false,
    ...(caFile === undefined ? {} : { caFile }),
    ...(clientCertificate === undefined ? {} : { clientCertificate }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  };
}

function givenCertificate(side: Side, values: Options): Endpoint['clientCertificate'] {
  const certificateFile = values[`${side}-client-cert-file`];
  const keyFile = values[`${side}-client-key-file`];
  if (certificateFile === undefined && keyFile === undefined) return undefined;
  return {
    certificateFile: certificateFile ?? missing(`--${side}-client-cert-file`),
    keyFile: keyFile ?? missing(`--${side}-client-key-file`),
  };
}

function decoded(base64: string | undefined): string | undefined {
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString('utf8');
}

function accessLevel({ access: text }: Options): AccessLevel | undefined {
  const level = ACCESS_LEVELS.find((name) => name === text);
  if (text !== undefined && level === undefined) throw malformed('--access', text, ACCESS_LEVELS.join(', '));
  return level;
}

function migrationId(values: Options): string {
  const parsed = migrationIdSchema.safeParse(values['migration-id']);
  if (!parsed.success)
    throw malformed('--migration-id', values['migration-id'], 'letters, digits and hyphens, at most 64');
  return parsed.data;
}

function jobKind(text: string | undefined): JobKind {
  const parsed = jobKindSchema.safeParse(text);
  if (!parsed.success) throw malformed('the kind of job', text ?? '', jobKindSchema.options.join(', '));
  return parsed.data;
}

/** One of the words that a schema knows. */
function choice<Word extends string>(
  values: Options,
  name: 'route' | 'key-display' | 'hash-field-ttl' | 'scope' | 'repair',
  schema: z.ZodType<Word> & { readonly options: readonly Word[] },
): Word {
  const parsed = schema.safeParse(values[name]);
  if (parsed.success) return parsed.data;
  throw malformed(`--${name}`, values[name] ?? '', schema.options.join(', '));
}

type CountOption = 'spool-max-bytes' | 'max-target-ops' | 'max-differences' | 'ttl-tolerance-ms' | 'count';

function count(values: Options, name: CountOption): number {
  const text = values[name] ?? '';
  if (!/^\d{1,15}$/.test(text)) throw malformed(`--${name}`, text, 'a whole number');
  return Number(text);
}

function malformed(name: string, value: string, expected: string): MigrationError {
  return new MigrationError('input-malformed', `${name} is "${value}"; expected ${expected}.`);
}

function missing(name: string): never {
  throw new MigrationError('input-missing', `${name} is missing.`);
}
