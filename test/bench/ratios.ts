import type { ContestantName } from './options.ts';
import type { BenchReport, CatchUpRun, CopyRun, LiveRun, Ratio, VerifyRun } from './report.ts';
import { median } from './sampling.ts';

/** What was measured. */
export type Figures = Pick<BenchReport, 'copy' | 'live' | 'catchUp' | 'verify'>;

/** Ours against each contestant that was measured beside it. */
export function computeRatios({ copy, live, catchUp, verify }: Figures): Ratio[] {
  const sets = [...new Set(copy.map(({ set }) => set))];
  const copies = sets.flatMap((of) => {
    const runs = copy.filter(({ set }) => set === of);
    return [
      ...ratiosOf(runs, { of, what: 'time', figureOf: ({ copyMs }) => copyMs }),
      ...ratiosOf(runs, { of, what: 'cpu', figureOf: totalCpuSeconds }),
    ];
  });
  const verifications = [...new Set(verify.map(({ set }) => set))].flatMap((set) => {
    const runs = verify.filter((run) => run.set === set);
    const of = `verify ${set}`;
    return [
      ...ratiosOf(runs, { of, what: 'rate', figureOf: ({ keysPerSecond }) => keysPerSecond }),
      ...ratiosOf(runs, { of, what: 'source-cpu', figureOf: ({ cpu }) => cpu.sourceSeconds }),
    ];
  });
  return [
    ...copies,
    ...verifications,
    ...ratiosOf(live, { of: 'live', what: 'rate', figureOf: (run) => run.appliedPerSecond }),
    ...ratiosOf(catchUp, { of: 'catch-up', what: 'rate', figureOf: (run) => run.appliedPerSecond }),
    ...ratiosOf(catchUp, { of: 'catch-up', what: 'cpu', figureOf: totalCpuSeconds }),
  ];
}

function totalCpuSeconds({ cpu }: AnyRun): number {
  return cpu.sourceSeconds + cpu.targetSeconds + (cpu.toolSeconds ?? 0);
}

type Quantity<Run> = Pick<Ratio, 'of' | 'what'> & { figureOf: (run: Run) => number | undefined };
type AnyRun = CopyRun | LiveRun | CatchUpRun | VerifyRun;

function ratiosOf<Run extends AnyRun>(runs: readonly Run[], { of, what, figureOf }: Quantity<Run>): Ratio[] {
  const valuesOf = (name: ContestantName) =>
    new Map(
      runs
        .filter((run) => run.contestant === name)
        .flatMap((run) => {
          const value = figureOf(run);
          // Nothing counted in so short a run is no figure to divide by.
          return value === undefined || value === 0 ? [] : [[run.round, value] as const];
        }),
    );
  return OURS.flatMap((contestant) => {
    const ours = valuesOf(contestant);
    return OTHERS.flatMap((against) => {
      const others = valuesOf(against);
      if (ours.size === 0 || others.size === 0) return [];
      const byRound = [...ours].flatMap(([round, value]) => {
        const other = others.get(round);
        return other === undefined ? [] : [value / other];
      });
      const ofMedians = median([...ours.values()]) / median([...others.values()]);
      return [{ of, what, contestant, against, ofMedians, byRound }];
    });
  });
}

const OURS = ['ours', 'ours-untuned'] as const;
const OTHERS = ['native', 'native-on-empty-db', 'raw', 'redis-shake', 'redis-full-check'] as const;
