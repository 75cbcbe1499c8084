import type { Route } from '../../contract/finding.ts';
import type { Clock } from '../../core/clock.ts';
import type { ElastiCacheDoor } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import type { CommonInputs, InputsOf, Phase } from '../inputs.ts';
import type { Outputs } from '../outputs.ts';
import type { PhaseHead, PhaseView } from '../summary/views.ts';

/** What a phase reaches of the world outside; each of these is opened once for a run. */
export type World = {
  readonly elasticache: ElastiCacheDoor;
  /** `owner/name` of the repository whose workflow runs. */
  readonly repository: string;
  readonly githubApiUrl: string;
  /** Of the workflow's run; undefined outside of one. */
  readonly runId: string | undefined;
  /** Of this action, and the agent that it brings: what a proof names. */
  readonly tool: { readonly version: string; agentSha256(): Promise<string> };
  readonly clock: Clock;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  log(message: string): void;
  /** Checks that the host is usable and has the agent; opened at the first call, closed with the run. */
  openHost(inputs: CommonInputs): Promise<Host>;
};

/** The parts of a phase's summary beyond what every phase has. */
export type PartsOf<Name extends Phase> = Partial<
  Omit<Extract<PhaseView, { phase: Name }>, keyof PhaseHead | 'phase'>
>;

/** Takes what a phase finds out, as soon as it does: a phase that fails later still shows it. */
export type Found<Name extends Phase> = {
  part(parts: PartsOf<Name>): void;
  outputs(outputs: Outputs): void;
  route(route: Route): void;
  warn(text: string): void;
};

/** A phase: does its work, tells what it finds, and throws when it fails. */
export type RunPhase<Name extends Phase> = (
  inputs: InputsOf<Name>,
  world: World,
  found: Found<Name>,
) => Promise<void>;
