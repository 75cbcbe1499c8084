import type { RepairMode } from '../../contract/jobs.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { closeEvery } from '../redis/cluster/open-every.ts';
import { dialectOf } from '../redis/rdb/dialect.ts';
import { readServerInfo } from '../redis/server-info.ts';
import { holdsHashFieldTtls, readTargetCommands } from '../sync/target-commands.ts';
import type { Pair } from '../verify/key-comparison.ts';
import type { Mended, Mender } from '../verify/mender.ts';
import type { Suspect } from '../verify/suspects.ts';
import { type Lane, openLane } from './lanes.ts';
import { mendFunctions } from './mend-functions.ts';
import { type KeyMender, mendKeys } from './mend-keys.ts';

/** Lanes beside one another: in a cluster a transaction has one slot, and each waits for the sync by itself. */
const LANES_OF_SERVER = 2;
const LANES_OF_CLUSTER = 16;

/** What a mender is made for. */
export type MenderOptions = {
  readonly mode: RepairMode;
  readonly hashFieldTtl: HashFieldTtl | undefined;
  readonly target: Access;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** Makes a mender that writes to the target over connections of its own. */
export function createMender(options: MenderOptions): Mender {
  return {
    mode: options.mode,
    mendKeys: (pair, suspects) => mendAll(options, pair, suspects),
    mendFunctions: async (pair) => {
      const { footerVersion } = (await readTarget(options)).dialect;
      return mendFunctions(pair, { mode: options.mode, footerVersion });
    },
  };
}

async function mendAll(options: MenderOptions, pair: Pair, suspects: Iterable<Suspect>): Promise<Mended> {
  const { target } = options;
  const lanes: Lane[] = [await openLane(target, options)];
  try {
    const count = lanes[0]?.isCluster ? LANES_OF_CLUSTER : LANES_OF_SERVER;
    while (lanes.length < count) lanes.push(await openLane(target, options));
    const form = await readForm(options, pair);
    return await mendKeys({ pair, mode: options.mode, lanes, form }, suspects);
  } finally {
    await closeEvery(lanes);
  }
}

async function readForm(options: MenderOptions, { target }: Pair): Promise<KeyMender['form']> {
  const { dialect, kind, commands } = await readTarget(options);
  const areExpiriesExact = !target.capabilities.paddedExpiry;
  return {
    // Padded are only those of a Valkey.
    hasHashFieldTtls: areExpiriesExact ? commands.has('HPEXPIREAT') : holdsHashFieldTtls(commands, kind),
    hashFieldTtl: options.hashFieldTtl ?? 'refuse',
    areExpiriesExact,
    dialect,
  };
}

async function readTarget({ target }: MenderOptions) {
  await using client = await openClient(target);
  const info = await readServerInfo(client);
  return { dialect: dialectOf(info), kind: info.kind, commands: await readTargetCommands(client) };
}
