import { z } from 'zod';
import {
  type HostCommand,
  type HostReplyOf,
  hostReplySchemas,
  hostResponseSchema,
} from '../../contract/host-commands.ts';
import { CONTRACT_VERSION } from '../../contract/version.ts';
import { fromErrorRecord, MigrationError } from '../../core/errors.ts';

/** The machine that reaches source and target, with the agent on it. It has two lives: SSM and a local child. */
export type Host = AsyncDisposable & {
  /** The host in a few words, for logs and reports: `i-0abc… (ip-10-0-0-7, Node.js v22.1.0)`. */
  readonly description: string;
  /** The host's address inside the VPC, where it is known. */
  privateAddress(): string | undefined;
  /**
   * Asks the agent one thing and waits for its answer. Every command may be repeated: the host adopts what is there.
   *
   * `signal` takes the place of the one that the host was opened with: how a cancelled run still stops its job.
   *
   * @throws what the agent answered with, host-reply-malformed, contract-mismatch, and what the way there throws
   */
  call<Name extends HostCommand['command']>(
    command: Extract<HostCommand, { command: Name }>,
    options?: { signal?: AbortSignal },
  ): Promise<HostReplyOf<Name>>;
};

/** The most characters of a request as base64: it must fit into one SSM command. */
export const REQUEST_BASE64_MAX = 60_000;

/** How much of an unreadable answer a message shows. */
const SHOWN_CHARACTERS_MAX = 300;

/** Wraps a command in its envelope, as one line of JSON. */
export function encodeRequest(command: HostCommand): string {
  return JSON.stringify({ contractVersion: CONTRACT_VERSION, command });
}

/**
 * Reads the agent's answer: one line of JSON, the reply to the command of this name.
 *
 * @throws the agent's own error, host-reply-malformed, contract-mismatch
 */
export function decodeReply<Name extends HostCommand['command']>(
  name: Name,
  text: string,
): HostReplyOf<Name> {
  const answer = readJson(name, text);
  const version = versionSchema.safeParse(answer);
  if (version.success && version.data.contractVersion !== CONTRACT_VERSION) {
    throw new MigrationError(
      'contract-mismatch',
      `The agent on the host speaks version ${version.data.contractVersion} of the contract, this action version ${CONTRACT_VERSION}.`,
    );
  }
  const response = hostResponseSchema.safeParse(answer);
  if (!response.success) throw malformed(name, { text, reason: z.prettifyError(response.error) });
  if (!response.data.ok) throw fromErrorRecord(response.data.error);
  const { reply } = response.data;
  if (!isReplyTo(name, reply)) {
    const problem = hostReplySchemas[name].safeParse(reply).error;
    throw malformed(name, { text, reason: problem === undefined ? '' : z.prettifyError(problem) });
  }
  return reply;
}

/** The schemas only check and change nothing, so that what passes is the reply. */
function isReplyTo<Name extends HostCommand['command']>(
  name: Name,
  reply: unknown,
): reply is HostReplyOf<Name> {
  return hostReplySchemas[name].safeParse(reply).success;
}

/** Looked at before everything else: another version has other schemas. */
const versionSchema = z.looseObject({ contractVersion: z.int() });

function readJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's words say nothing that the answer itself does not show.
    throw malformed(name, { text, reason: text.trim() === '' ? 'it is empty' : 'it is no JSON' });
  }
}

function malformed(name: string, { text, reason }: { text: string; reason: string }): MigrationError {
  const shown = JSON.stringify(text.trim().slice(0, SHOWN_CHARACTERS_MAX));
  return new MigrationError(
    'host-reply-malformed',
    `The host's answer to ${name} is not understood: ${reason}. It begins ${shown}.`,
  );
}
