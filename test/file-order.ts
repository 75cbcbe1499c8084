import { existsSync } from 'node:fs';
import path from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const ROOT = path.join(import.meta.dirname, '..');

/** Small files that take long: the order by size would leave them to the end, where nothing runs beside them. */
const LONG = [
  'test/agent/verify/false-alarms.redis.test.ts',
  'test/agent/sync/cluster/failover.redis.test.ts',
  'test/agent/sync/throttle.redis.test.ts',
  'test/agent/verify/seeded-differences.redis.test.ts',
  'test/memory/memory.scenario.ts',
  'test/fuzz/fuzz.redis.test.ts',
];

/**
 * Long files first. Scenarios mostly wait and tests on servers mostly compute, so the two take turns: a machine of two
 * cores is then never idle nor overloaded for long. Tests without servers fill the end.
 */
export class FileOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    for (const file of LONG) if (!existsSync(path.join(ROOT, file))) throw new Error(`There is no ${file}`);
    const byRank = (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
    const scenarios = byRank.filter(isScenario);
    const others = byRank.filter((file) => !isScenario(file));
    const turns = Math.max(1, scenarios.length);
    return Array.from({ length: turns }, (_, turn) => [
      ...scenarios.slice(turn, turn + 1),
      ...others.slice(share(turn, turns, others.length), share(turn + 1, turns, others.length)),
    ]).flat();
  }
}

function isScenario({ moduleId }: TestSpecification): boolean {
  return moduleId.endsWith('.scenario.ts');
}

/** The lowest go first. */
function rankOf({ moduleId }: TestSpecification): number {
  if (LONG.some((file) => moduleId.endsWith(file))) return 0;
  return moduleId.endsWith('.scenario.ts') || moduleId.endsWith('.redis.test.ts') ? 1 : 2;
}

function share(turn: number, turns: number, length: number): number {
  return Math.floor((turn * length) / turns);
}
