import type { AwsFault } from './fault.ts';

/** Makes a call fail: with an error code of its service, or by closing the connection before or after it took effect. */
export type CallFault = {
  operation: string;
  /** How many calls are hit; 1 unless said otherwise, Infinity for all. */
  times?: number;
  /** How many calls pass before the first is hit. */
  after?: number;
} & ({ error: string; message?: string } | { drop: 'request' | 'answer' });

/** Makes a command go wrong on its way to the instance, or on it. */
export type DeliveryFault = {
  delivery: 'lost' | 'delayed' | 'undeliverable' | 'timed-out' | 'terminated' | 'execution-timed-out';
  instanceId?: string;
  times?: number;
  after?: number;
  /** How long a delayed command stays Delayed, or how long a script runs before its execution times out. */
  delayMs?: number;
};

/** One injected fault. */
export type FaultRule = CallFault | DeliveryFault;

/** A rule that is in force. */
export type InjectedFault = { readonly hits: number; withdraw(): void };

/** The faults in force, in the order of their injection; the first that fits is used up. */
export type Faults = { inject(rule: FaultRule): InjectedFault };

/** What the services ask before they act. */
export type FaultSource = Faults & {
  takeCallFault(operation: string): CallFault | undefined;
  takeDeliveryFault(instanceId: string): DeliveryFault | undefined;
};

/** Keeps the rules; `resolve` says at injection whether an operation can answer with an error code. */
export function createFaults(
  resolve: (operation: string, code: string, message?: string) => AwsFault,
): FaultSource {
  const active = new Set<{ rule: FaultRule; hits: number; seen: number }>();
  const take = <Rule extends FaultRule>(fits: (rule: FaultRule) => rule is Rule): Rule | undefined => {
    for (const entry of active) {
      if (!fits(entry.rule)) continue;
      entry.seen += 1;
      if (entry.seen <= (entry.rule.after ?? 0)) continue;
      entry.hits += 1;
      if (entry.hits >= (entry.rule.times ?? 1)) active.delete(entry);
      return entry.rule;
    }
    return undefined;
  };
  return {
    inject: (rule) => {
      if ('error' in rule) resolve(rule.operation, rule.error);
      const entry = { rule, hits: 0, seen: 0 };
      active.add(entry);
      return {
        get hits() {
          return entry.hits;
        },
        withdraw: () => active.delete(entry),
      };
    },
    takeCallFault: (operation) =>
      take((rule): rule is CallFault => 'operation' in rule && rule.operation === operation),
    takeDeliveryFault: (instanceId) =>
      take(
        (rule): rule is DeliveryFault =>
          'delivery' in rule && (rule.instanceId === undefined || rule.instanceId === instanceId),
      ),
  };
}
