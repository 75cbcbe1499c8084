import { existsSync } from 'node:fs';
import path from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const ROOT = path.join(import.meta.dirname, '..');

/** Files that take a minute or more and mostly wait, the longest first: begun late, they would run on alone. */
const LONGEST = [
  'test/scenarios/migration.scenario.ts',
  'test/scenarios/gate.scenario.ts',
  'test/scenarios/promotion.scenario.ts',
  'test/agent/verify/false-alarms.redis.test.ts',
  'test/agent/sync/throttle.redis.test.ts',
  'test/agent/sync/cluster/failover.redis.test.ts',
];
/** Scenarios take five times as long as others, so with so many others to each one of them there is always one. */
const OTHERS_TO_A_SCENARIO = 2;

/**
 * The longest files first, then by size, which goes with duration. Scenarios mostly wait and tests on servers mostly
 * compute, so the two take turns and two cores are neither idle nor overloaded for long; tests without servers fill the end.
 */
export class FileOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    for (const file of LONGEST)
      if (!existsSync(path.join(ROOT, file))) throw new Error(`There is no ${file}`);
    const ranked = (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
    const scenarios = ranked.filter(isScenario);
    const others = ranked.filter((file) => !isScenario(file));
    const turns = scenarios.flatMap((scenario) => [scenario, ...others.splice(0, OTHERS_TO_A_SCENARIO)]);
    return [...turns, ...others];
  }
}

function isScenario({ moduleId }: TestSpecification): boolean {
  return moduleId.endsWith('.scenario.ts');
}

/** The lowest go first. */
function rankOf(file: TestSpecification): number {
  const place = LONGEST.findIndex((name) => file.moduleId.endsWith(name));
  if (place >= 0) return place;
  const needsServers = isScenario(file) || file.moduleId.endsWith('.redis.test.ts');
  return LONGEST.length + (needsServers ? 0 : 1);
}
