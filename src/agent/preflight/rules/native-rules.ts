import { isIP } from 'node:net';
import type { JobRequestOf } from '../../../contract/jobs.ts';
import type { ErrorCode } from '../../../core/error-codes.ts';
import { isVersionAtLeast } from '../../redis/server-info.ts';
import { loadsRdbOf, rdbVersionOf } from '../rdb-version.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';
import type { TargetServerFacts } from '../target-facts.ts';
import { describeModuleTypes } from './source-rules.ts';

type Request = JobRequestOf<'preflight'>;

/** What only ElastiCache's own online migration asks for; undefined where a rule has nothing to say. */
export const NATIVE_SOURCE_RULES: readonly ((source: SourceFacts, request: Request) => Ruling | undefined)[] =
  [judgeAuth, judgeSourceTls, judgeListening, judgeModuleData];
/** As {@link NATIVE_SOURCE_RULES}, of what is known without asking the target server. */
export const NATIVE_GROUP_RULES: readonly ((request: Request) => Ruling | undefined)[] = [
  judgeGroupKnown,
  judgeTargetTls,
  judgeMultiAz,
  judgeStatus,
];

function blockNative(code: ErrorCode, title: string, detail: string, remedy?: string): Ruling {
  return block(code, { title, detail, routes: ['native'], ...(remedy === undefined ? {} : { remedy }) });
}

/**
 * Whether the target loads what the source writes. A target that does not may have flushed itself before it found out
 * (Valkey 8: "Can't handle RDB format version 12"), and tries again and again.
 */
export function judgeRdbVersion(source: SourceFacts, target: TargetServerFacts, request: Request): Ruling {
  const title = 'RDB version';
  const from = `${source.server.kind} ${source.server.version}`;
  const to = `${target.server.kind} ${target.server.version}`;
  const written = `${from} writes RDB version ${rdbVersionOf(source.server)}`;
  if (loadsRdbOf(source.server, target.server)) {
    return pass('rdb-version', { title, detail: `${written}, which ${to} loads.` });
  }
  const detail = `${written}, ${consequence(source, target)}`;
  if (!request.allowNativeRdbVersion) return blockNative('route-native-rdb-version', title, detail);
  return warn('native-rdb-version-allowed', {
    title,
    detail: `${detail} The native route is allowed all the same, as the input says; a refusal wipes the target.`,
    remedy: 'Take a snapshot of the target first, or use `route: replica`.',
  });
}

function consequence({ server: source }: SourceFacts, { server: target }: TargetServerFacts): string {
  if (rdbVersionOf(source) >= 80) {
    return `and for an older replica one that cannot carry all its data: ElastiCache promises nothing for it.`;
  }
  const isWiped = target.kind === 'redis' || !isVersionAtLeast(target.version, 9, 0);
  return isWiped
    ? `which ${target.kind} ${target.version} refuses, and a target that tries to replicate from it is wiped by the attempt.`
    : `which ${target.kind} ${target.version} refuses, so that the replication never begins.`;
}

function judgeAuth(source: SourceFacts): Ruling | undefined {
  if (!source.passwordGiven) return undefined;
  return blockNative(
    'route-native-auth',
    'AUTH at the source',
    'The source is used with a password, and StartMigration has no place for one.',
  );
}

function judgeSourceTls(source: SourceFacts): Ruling | undefined {
  if (!source.tls) return undefined;
  return blockNative(
    'route-native-tls',
    'TLS at the source',
    'The source is used over TLS, and ElastiCache replicates in plain text.',
  );
}

/**
 * Whether the source takes connections from ElastiCache, by `bind` and `protected-mode`.
 *
 * Protected mode refuses all but loopback as long as the default user has no password; before 7.0 only where no
 * `bind` is given (networking.c, acceptCommonHandler).
 */
function judgeListening(source: SourceFacts, request: Request): Ruling {
  const title = 'Listening of the source';
  const host = request.nativeSourceHost ?? request.source.host;
  if (source.listening === undefined) {
    return warn('listening-unknown', {
      title,
      detail: 'Its `bind` and `protected-mode` could not be read, because CONFIG is denied.',
      remedy: `For the native route, make sure that ElastiCache reaches ${host}:${request.source.port}.`,
    });
  }
  const { bind, protectedMode } = source.listening;
  const shown = `bind "${bind.join(' ')}", protected-mode ${protectedMode ? 'yes' : 'no'}`;
  if (!isListeningAt(host, bind)) {
    return blockNative('source-bind-loopback', title, `ElastiCache would connect to ${host}, but: ${shown}.`);
  }
  const isOlder = source.server.kind === 'redis' && !isVersionAtLeast(source.server.version, 7, 0);
  const isProtected = protectedMode && !(isOlder && bind.length > 0);
  if (isProtected && !isLoopback(host)) {
    return blockNative(
      'source-bind-loopback',
      title,
      `Without a password it serves loopback only: ${shown}.`,
    );
  }
  return pass('source-listening', { title, detail: `ElastiCache would connect to ${host}: ${shown}.` });
}

function isListeningAt(host: string, bind: readonly string[]): boolean {
  // A leading "-" only means that the address may be missing on the machine.
  const addresses = bind.map((address) => address.replace(/^-/, ''));
  if (
    addresses.length === 0 ||
    addresses.some((address) => ['*', '0.0.0.0', '::', '::*'].includes(address))
  ) {
    return true;
  }
  return isIP(host) === 0 ? addresses.some((address) => !isLoopback(address)) : addresses.includes(host);
}

function isLoopback(address: string): boolean {
  return /^(127\.|::1$|localhost$)/.test(address);
}

/** A target loads the values of modules that it has itself, and gives the whole RDB up at any other. */
function judgeModuleData(source: SourceFacts): Ruling | undefined {
  if (source.sample.moduleTypes.length === 0) return undefined;
  return blockNative(
    'source-modules-unsupported',
    'Data of modules, for the target to load',
    `The target cannot load the RDB of the source because of the keys of modules in it: ${describeModuleTypes(source)} in a sample.`,
  );
}

function judgeGroupKnown({ targetFacts }: Request): Ruling | undefined {
  if (targetFacts !== undefined) return undefined;
  return blockNative(
    'replication-group-unsuitable',
    'Replication group',
    'The target is not known as a replication group, and the native route is a feature of ElastiCache.',
    'Give `replication-group-id`, or use `route: replica`.',
  );
}

function judgeTargetTls({ targetFacts, target }: Request): Ruling | undefined {
  if (targetFacts?.transitEncryption !== true && !target.tls) return undefined;
  return blockNative(
    'route-native-tls',
    'Transit encryption of the target',
    'The target has encryption in transit, with which ElastiCache starts no online migration.',
  );
}

function judgeMultiAz({ targetFacts }: Request): Ruling | undefined {
  if (targetFacts === undefined || targetFacts.multiAz) return undefined;
  return blockNative(
    'replication-group-unsuitable',
    'Multi-AZ of the target',
    'Multi-AZ is off, and the online migration of ElastiCache wants it on.',
    'Turn Multi-AZ on, or use `route: replica`.',
  );
}

function judgeStatus({ targetFacts }: Request): Ruling | undefined {
  if (targetFacts === undefined || targetFacts.status === 'available') return undefined;
  return blockNative(
    'replication-group-not-available',
    'Status of the replication group',
    `It is ${targetFacts.status}, not available.`,
  );
}
