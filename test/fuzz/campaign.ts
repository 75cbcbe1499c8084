import type { TargetWriter } from '../../src/agent/sync/target-writer.ts';
import { isMigrationError } from '../../src/core/errors.ts';
import { makeRandom, type Random } from '../random.ts';
import { carryRdb } from './carry.ts';
import { inRandomPieces, mutate } from './mutate.ts';
import { type Observe, observeCommands, observeRdb, observeReplies } from './observe.ts';
import type { SwallowingTarget } from './swallowing-target.ts';

/** What is damaged: sound inputs of each kind. */
export type Corpus = {
  readonly rdbs: readonly Buffer[];
  readonly streams: readonly Buffer[];
  readonly replies: readonly Buffer[];
};

/** What a campaign does. */
export type Campaign = {
  readonly corpus: Corpus;
  /** How many damaged inputs of each kind. */
  readonly inputs: number;
  readonly seed: number;
  readonly target: SwallowingTarget;
  /** Where bytes may be held on disk. */
  readonly directory: string;
  /** Called after each input with how many are done. */
  readonly onProgress?: (done: number) => void;
};

/** How the readers ended, and how often: `rdb whole`, `copy source-protocol-error`. */
export type Tally = ReadonlyMap<string, number>;

/** What damage may lead to; everything else is a crash. */
const NAMED: ReadonlySet<string> = new Set([
  'whole',
  'incomplete',
  'no reply',
  'source-protocol-error',
  'source-data-unsupported',
  'source-modules-unsupported',
  'source-version-unsupported',
]);
/** A buffer of at most this size is kept whatever comes. */
const WINDOW_KEPT_BYTES = 1024 * 1024;
/** So often as large as what has come may a buffer become that grows by doubling. */
const WINDOW_GROWTH = 4;
/** Nearly every value counts as large. */
const LARGE_BEYOND_BYTES = 16;

/**
 * Feeds damaged inputs to the readers of what the source sends, and to a whole copy: each must end in a result or in a
 * named error, in a memory that what came accounts for, and alike however the bytes are cut.
 *
 * Throws on the first input that breaks this, with what is needed to repeat it.
 */
export async function runCampaign({
  corpus,
  inputs,
  seed,
  target,
  directory,
  onProgress,
}: Campaign): Promise<Tally> {
  const tally = new Map<string, number>();
  const note = (name: string) => tally.set(name, (tally.get(name) ?? 0) + 1);
  const carrier = makeCarrier(target, directory);
  for (let index = 0; index < inputs; index++) {
    // Each input has a seed of its own, so that it can be made again without those before it.
    const random = makeRandom(seed * 1_000_003 + index);
    const damaged = (inputs: readonly Buffer[]) => mutate(random.pick(inputs), random, random.pick(inputs));
    const rdb = damaged(corpus.rdbs);
    try {
      note(`rdb ${observeCut(observeRdb(LARGE_BEYOND_BYTES), rdb, random)}`);
      note(`copy ${await carrier.carry(rdb, random)}`);
      note(`commands ${observeCut(observeCommands(directory), damaged(corpus.streams), random)}`);
      note(`replies ${observeCut(observeReplies, damaged(corpus.replies), random)}`);
    } catch (error) {
      throw new Error(`The input ${index} of the seed ${seed} is not borne: ${error}`, { cause: error });
    }
    onProgress?.(index + 1);
  }
  await carrier.close();
  return tally;
}

function observeCut(look: Observe, input: Buffer, random: Random): string {
  const whole = look([input]);
  const cut = look(inRandomPieces(input, random));
  for (const { ending, windowBytes } of [whole, cut]) {
    if (!NAMED.has(ending)) throw new Error(`it ends as ${ending}`);
    if (windowBytes > WINDOW_KEPT_BYTES + WINDOW_GROWTH * input.length) {
      throw new Error(`${input.length} bytes take a buffer of ${windowBytes}`);
    }
  }
  if (whole.ending !== cut.ending || whole.items.join() !== cut.items.join()) {
    throw new Error(`whole it is ${describe(whole)}, in pieces ${describe(cut)}`);
  }
  return whole.ending;
}

function describe({ ending, items }: ReturnType<Observe>): string {
  return `${ending} after ${items.length} items`;
}

/** Copies RDBs to the target, over a new connection whenever one was left in the middle of a command. */
function makeCarrier(target: SwallowingTarget, directory: string) {
  let open: TargetWriter | undefined;
  const close = async () => {
    await open?.[Symbol.asyncDispose]();
    open = undefined;
  };
  const carry = async (rdb: Buffer, random: Random): Promise<string> => {
    open ??= await target.open();
    const pieces = inRandomPieces(rdb, random);
    const hasHashFieldTtls = random.below(4) > 0;
    const wholeValueBytesMax = random.pick([LARGE_BEYOND_BYTES, 2 ** 21]);
    const restoreBytesMax = random.pick([0, 100, 2 ** 29]);
    let ending: string;
    try {
      const carried = await carryRdb({
        pieces,
        writer: open,
        hasHashFieldTtls,
        wholeValueBytesMax,
        restoreBytesMax,
        directory,
      });
      ending = carried.isComplete ? 'whole' : 'incomplete';
      if (carried.isComplete) await open.settle();
      else await close();
    } catch (error) {
      await close();
      if (!isMigrationError(error)) throw error;
      ending = error.code;
    }
    if (!NAMED.has(ending)) throw new Error(`the copy ends as ${ending}`);
    if (target.complaint !== undefined) throw new Error(`the target was sent ${target.complaint}`);
    return ending;
  };
  return { carry, close };
}
