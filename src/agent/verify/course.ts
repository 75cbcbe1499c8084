import type { Holding } from './aspect.ts';

/** So many steps all in the same direction are taken for a course. */
const STEPS_LEAST = 20;

/**
 * The way that a number takes at the source, as a counter does which clients only ever raise: every version that the
 * target comes by lies between those that were seen before and after it, whether it was seen or not.
 */
export class Course {
  #first: bigint | undefined;
  #last: bigint | undefined;
  #rises = 0;
  #falls = 0;
  #isNumber = true;
  #awaited: bigint | 'no-number' | undefined;
  /** Versions of the target that were between those of the source, and those that were not. */
  within = 0;
  beyond = 0;

  /** Whether all that was seen at the source were numbers which rise, or which fall. */
  get isSteady(): boolean {
    const steps = this.#rises + this.#falls;
    return this.#isNumber && steps >= STEPS_LEAST && (this.#rises === steps || this.#falls === steps);
  }

  /** To be told of each look at the source, changed or not, before the look at the target. */
  sourceAt(holding: Holding): void {
    const value = numberOf(holding);
    if (value === 'no-number') this.#isNumber = false;
    else {
      this.#first ??= value;
      if (this.#last !== undefined && value > this.#last) this.#rises += 1;
      if (this.#last !== undefined && value < this.#last) this.#falls += 1;
      this.#last = value;
    }
    this.#judge();
  }

  /** A new version of the target: judged with the next look at the source, which may be behind it at this one. */
  targetAt(holding: Holding): void {
    this.#awaited = numberOf(holding);
  }

  #judge(): void {
    const value = this.#awaited;
    this.#awaited = undefined;
    if (value === undefined || this.#first === undefined || this.#last === undefined) return;
    // Of different signs, or one of them 0, when it is between the two.
    const isWithin = value !== 'no-number' && (value - this.#first) * (value - this.#last) <= 0n;
    if (isWithin) this.within += 1;
    else this.beyond += 1;
  }
}

/** Identities of short strings begin with `=`, those of scores are the number alone. */
function numberOf({ identity }: Holding): bigint | 'no-number' {
  const digits = /^=?(-?\d{1,20})$/.exec(identity)?.[1];
  return digits === undefined ? 'no-number' : BigInt(digits);
}
