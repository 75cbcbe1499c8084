import type { Layout, Step } from './layouts.ts';
import { malformedRdb } from './malformed.ts';
import { type LengthCursor, readLength, skipString } from './string.ts';

/** A run of steps under way: `remaining` rounds, of which the current one is at step `index`. */
type Frame = { steps: readonly Step[]; isStringsOnly: boolean; index: number; remaining: number };

/**
 * Finds where a value ends, without decoding it, by following its layout.
 *
 * It keeps its place when the bytes end in the middle and goes on from there with more of them, so that a value of
 * any size is looked at once. Only a part whose head is cut is read again.
 */
export class ExtentScanner {
  /** Where the next part begins; possibly behind the bytes there are. */
  position = 0;
  readonly #frames: Frame[] = [];
  readonly #cursor: LengthCursor = { value: 0, next: 0 };

  /** Starts on a value of this layout at `position`. */
  begin(layout: Layout, position: number): void {
    this.position = position;
    this.#frames.length = 0;
    this.#frames.push({ steps: layout, isStringsOnly: false, index: 0, remaining: 1 });
  }

  /** Goes as far as `bytes[0, end)` allows; true when the value is complete and ends at `position`. */
  advance(bytes: Buffer, end: number): boolean {
    for (;;) {
      const frame = this.#frames.at(-1);
      if (frame === undefined) return this.position <= end;
      if (frame.remaining === 0) {
        this.#frames.pop();
        continue;
      }
      if (frame.isStringsOnly) {
        if (!this.#advanceStrings(frame, bytes, end)) return false;
        continue;
      }
      const step = frame.steps[frame.index];
      if (step === undefined) {
        frame.index = 0;
        frame.remaining -= 1;
        continue;
      }
      const next = this.#advanceStep(step, bytes, end);
      if (next === -1) return false;
      this.position = next;
      // A module is a step of unknown length: it stays on itself until its end mark.
      if (step.kind !== 'module' || this.#cursor.value === MODULE_END) frame.index += 1;
    }
  }

  #advanceStrings(frame: Frame, bytes: Buffer, end: number): boolean {
    let position = this.position;
    let remaining = frame.remaining;
    while (remaining > 0) {
      const next = skipString(bytes, position, end);
      if (next === -1) break;
      position = next;
      remaining -= 1;
    }
    this.position = position;
    frame.remaining = remaining;
    return remaining === 0;
  }

  /** Returns the position behind the step, or -1 when the bytes end before its head does. */
  #advanceStep(step: Step, bytes: Buffer, end: number): number {
    const at = this.position;
    switch (step.kind) {
      case 'string':
        return skipString(bytes, at, end);
      case 'bytes':
        // Without the check a damaged count would walk on where nothing is.
        return at > end ? -1 : at + step.count;
      case 'length':
        readLength(bytes, at, end, this.#cursor);
        return this.#cursor.next;
      case 'score': {
        if (at >= end) return -1;
        const size = bytes[at] ?? 0;
        return at + 1 + (size >= 253 ? 0 : size);
      }
      case 'module':
        return this.#advanceModule(bytes, end);
      case 'each': {
        readLength(bytes, at, end, this.#cursor);
        if (this.#cursor.next === -1) return -1;
        const { steps, isStringsOnly } = step;
        const rounds = this.#cursor.value;
        const remaining = isStringsOnly ? rounds * steps.length : rounds;
        this.#frames.push({ steps, isStringsOnly, index: 0, remaining });
        return this.#cursor.next;
      }
    }
  }

  /** One item of a module's value; leaves its opcode in the cursor. */
  #advanceModule(bytes: Buffer, end: number): number {
    const cursor = this.#cursor;
    readLength(bytes, this.position, end, cursor);
    if (cursor.next === -1) return -1;
    const opcode = cursor.value;
    const next = this.#skipModuleItem(opcode, bytes, end);
    cursor.value = opcode;
    return next;
  }

  #skipModuleItem(opcode: number, bytes: Buffer, end: number): number {
    const at = this.#cursor.next;
    switch (opcode) {
      case MODULE_END:
        return at;
      case 1:
      case 2:
        readLength(bytes, at, end, this.#cursor);
        return this.#cursor.next;
      case 3:
        return at + 4;
      case 4:
        return at + 8;
      case 5:
        return skipString(bytes, at, end);
      default:
        throw malformedRdb(`${opcode} is no part of a module's value`);
    }
  }
}

const MODULE_END = 0;
