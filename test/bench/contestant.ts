import type { ContestantName } from './options.ts';
import type { ServerPair } from './server-pair.ts';

/** Where and what for a contestant begins its work. */
export type Attaching = {
  readonly pair: ServerPair;
  /** `copy` ends with the copy where the tool can do that; `follow` goes on with the stream. */
  readonly purpose: 'copy' | 'follow';
  /** An empty directory of its own. */
  readonly directory: string;
  readonly signal: AbortSignal;
};

/** A contestant at work between a source and a target; disposing ends it the hard way. */
export type Attachment = AsyncDisposable & {
  /** Its own process; undefined where the target itself does the work. */
  readonly toolPid: number | undefined;
  /** Rejects when its process fails. */
  readonly failed: Promise<never>;
  /** Resolves with the wall-clock time at which the target first showed that it holds the whole copy. */
  copied(): Promise<number>;
  /** The offset in the source's stream up to which the target has applied; undefined where nobody can tell. */
  appliedOffset: (() => Promise<number>) | undefined;
  /** Ends it in an orderly way, and removes what it left in the target besides the data. */
  detach(): Promise<void>;
};

/** One way to get the data across. */
export type Contestant = {
  readonly name: ContestantName;
  readonly targetConfig?: Readonly<Record<string, string>>;
  /** It asks for no sync, so that its copy begins with itself. */
  readonly isScanning?: true;
  attach(attaching: Attaching): Promise<Attachment>;
};

/** How often a server is asked whether it is there yet: the resolution of every span that is measured. */
export const POLL_MS = 5;

/** What stands for the failure of a process that there is not. */
export const NEVER: Promise<never> = new Promise(() => {});
