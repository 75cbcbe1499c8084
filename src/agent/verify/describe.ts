import type { KeyDisplay } from '../../contract/jobs.ts';
import type { DifferenceKind } from '../../contract/reports.ts';
import { assertNever } from '../../core/assert.ts';
import { displayName } from '../redis/key-display.ts';
import { type Aspect, type Holding, kindOf, notReplicatedReason } from './aspect.ts';
import type { Expiry } from './expiry.ts';
import { firstDifference } from './key-comparison.ts';

/** A difference in words, without a value of the customer's. */
export type Description = {
  readonly kind: DifferenceKind;
  readonly detail: string;
  /** Why it does not count as one. */
  readonly skipReason?: string | undefined;
};

/** Says how the two sides differ in one aspect; names in it are shown as the key is. */
export function describeDifference(
  aspect: Aspect,
  [source, target]: readonly [Holding, Holding],
  display: KeyDisplay,
): Description {
  if (aspect.of === 'type') return describeType(source, target);
  const skipReason = notReplicatedReason(source, target);
  return { kind: kindOf(aspect), detail: detailOf(aspect, [source, target], display), skipReason };
}

function describeType(source: Holding, target: Holding): Description {
  if (target.identity === '') {
    return { kind: 'missing', detail: `${source.identity} at the source, nothing at the target` };
  }
  if (source.identity === '') {
    return { kind: 'extra', detail: `nothing at the source, ${target.identity} at the target` };
  }
  return { kind: 'type', detail: `${source.identity} at the source, ${target.identity} at the target` };
}

type NamelessAspect = Exclude<Aspect, { of: 'type' }>;

function detailOf(
  aspect: NamelessAspect,
  [source, target]: readonly [Holding, Holding],
  display: KeyDisplay,
): string {
  switch (aspect.of) {
    case 'ttl':
      return expiries(source, target);
    case 'payload':
      return `module value: ${sizes(source, target)}`;
    case 'string-block': {
      const offset = aspect.offset + (offsetIn(source, target) ?? 0);
      return `first difference at byte ${offset}; ${source.length ?? 0} bytes at the source, ${target.length ?? 0} at the target`;
    }
    case 'list-window':
      return `first difference at index ${aspect.index}; ${source.length ?? 0} elements at the source, ${target.length ?? 0} at the target`;
    case 'list':
      return `keeps changing, and no version was at both sides; ${source.length ?? 0} elements at the source, ${target.length ?? 0} at the target`;
    case 'hash-field':
      return `field ${displayName(aspect.name, display)}: ${presence(source, target) ?? sizes(source, target)}`;
    case 'hash-field-ttl':
      return `field ${displayName(aspect.name, display)}: ${expiries(source, target)}`;
    case 'set-member':
      return `member ${displayName(aspect.name, display)}: ${presence(source, target) ?? 'differs'}`;
    case 'zset-member':
      return `member ${displayName(aspect.name, display)}: ${presence(source, target) ?? 'scores differ'}`;
    case 'stream-entry':
      return `entry ${aspect.id}: ${presence(source, target) ?? 'fields differ'}`;
    case 'stream-info':
      return `${aspect.field}: ${presence(source, target) ?? numbers(source, target)}`;
    case 'stream-group':
      return `group ${displayName(aspect.group, display)}${aspect.field === 'name' ? '' : ` ${aspect.field}`}: ${presence(source, target) ?? numbers(source, target)}`;
    case 'stream-pending':
      return `group ${displayName(aspect.group, display)} pending entry ${aspect.id}: ${presence(source, target) ?? 'consumer or delivery count differs'}`;
    default:
      return assertNever(aspect);
  }
}

function presence(source: Holding, target: Holding): string | undefined {
  if (target.identity === '') return 'only at the source';
  return source.identity === '' ? 'only at the target' : undefined;
}

function offsetIn(source: Holding, target: Holding): number | undefined {
  if (source.bytes === undefined || target.bytes === undefined) return undefined;
  return firstDifference(source.bytes, target.bytes);
}

function sizes(source: Holding, target: Holding): string {
  const [a, b] = [source.bytes?.length ?? 0, target.bytes?.length ?? 0];
  return `${a} bytes at the source, ${b} at the target, first difference at byte ${offsetIn(source, target) ?? 0}`;
}

/** Ids and counters of a stream: no values, and what a reviewer wants to see. */
function numbers(source: Holding, target: Holding): string {
  return `${source.identity.slice(1)} at the source, ${target.identity.slice(1)} at the target`;
}

function expiries(source: Holding, target: Holding): string {
  const [a, b] = [source.expiry, target.expiry];
  const apart =
    a !== undefined && b !== undefined && a.atMs >= 0 && b.atMs >= 0
      ? `, ${Math.abs(a.atMs - b.atMs)} ms apart`
      : '';
  return `${expiryText(a)} at the source, ${expiryText(b)} at the target${apart}`;
}

function expiryText(expiry: Expiry | undefined): string {
  if (expiry === undefined || expiry.atMs === -2) return 'is not there';
  if (expiry.atMs === -1) return 'never expires';
  const date = new Date(expiry.atMs);
  return `expires at ${Number.isNaN(date.getTime()) ? `${expiry.atMs} ms` : date.toISOString()}`;
}
