import { z } from 'zod';
import type { JobContext, SiblingJobs } from '../../../src/agent/job/context.ts';
import type { Access } from '../../../src/agent/redis/access.ts';
import type { Endpoint, Side } from '../../../src/contract/endpoint.ts';
import type { Progress } from '../../../src/contract/job-state.ts';
import type { JobReport } from '../../../src/contract/reports.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { Secret } from '../../../src/core/secret.ts';
import type { RunningServer } from '../../servers/start.ts';

/** Siblings of a migration that has no other jobs. */
export const NO_SIBLINGS: SiblingJobs = {
  state: async () => undefined,
  report: async () => undefined,
  stop: async () => {},
  kill: async () => {},
  start: async () => {},
};

/** What a test may look at after a job. */
export type RecordedContext = JobContext & {
  readonly stages: string[];
  readonly lines: string[];
  readonly left: JobReport[];
};

/** A context as the host makes it, for a job that runs in the test itself; secrets are their own names. */
export function jobContext(given: {
  directory: string;
  siblings?: SiblingJobs;
  signal?: AbortSignal;
  clock?: Clock;
}): RecordedContext {
  const stages: string[] = [];
  const lines: string[] = [];
  const left: JobReport[] = [];
  return {
    migrationId: 'sessions',
    repository: 'example/shop',
    hostId: 'host-1',
    directory: given.directory,
    clock: given.clock ?? systemClock,
    signal: given.signal ?? new AbortController().signal,
    siblings: given.siblings ?? NO_SIBLINGS,
    resolveSecret: async (reference) =>
      new Secret(reference.from === 'file' ? reference.path : reference.name),
    report: ({ stage }: Progress) => {
      if (stages.at(-1) !== stage) stages.push(stage);
    },
    leaveReport: (report) => left.push(report),
    log: (line) => lines.push(line),
    stages,
    lines,
    left,
  };
}

/** The endpoint of a server of the test. */
export function endpointOf(running: Pick<RunningServer, 'host' | 'port'>): Endpoint {
  return { host: running.host, port: running.port, tls: false };
}

/** A resolved endpoint of a server of the test. */
export function accessOf(
  side: Side,
  { host, port }: Pick<RunningServer, 'host' | 'port'>,
  user?: { name: string; password: string },
): Access {
  return {
    side,
    host,
    port,
    address: `${host}:${port}`,
    username: user?.name,
    password: user === undefined ? undefined : new Secret(user.password),
    tls: undefined,
  };
}

/** Every setting of a server by its name; CONFIG GET gives them in no certain order. */
export async function readSettings(server: RunningServer): Promise<Record<string, string>> {
  const flat = z.array(z.string()).parse(await server.client().config('GET', '*'));
  const settings: Record<string, string> = {};
  for (let at = 0; at + 1 < flat.length; at += 2) settings[flat[at] ?? ''] = flat[at + 1] ?? '';
  return settings;
}
