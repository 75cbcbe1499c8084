import { ErrorReply, type Reply } from '../reply-parser.ts';

/**
 * Where a node of a cluster sends a client for a slot: `moved`, for good; `ask`, for one command, which ASKING precedes
 * because the slot is still on its way.
 */
export type Redirection = { readonly kind: 'moved' | 'ask'; readonly host: string; readonly port: number };

const REDIRECTION = /^(MOVED|ASK) \d+ (.*):(\d+)$/;

/** Whether a reply is a redirection. */
export function isRedirection(reply: Reply): boolean {
  return reply instanceof ErrorReply && REDIRECTION.test(reply.message);
}

/**
 * Reads `MOVED slot host:port` and `ASK slot host:port`; undefined for any other reply.
 *
 * A host that is empty or `?` is that of the node which answered: clusters that know their address only by port.
 */
export function readRedirection(reply: Reply, from: { readonly host: string }): Redirection | undefined {
  const match = reply instanceof ErrorReply ? REDIRECTION.exec(reply.message) : null;
  if (match === null) return undefined;
  const [, name, host = '', port] = match;
  return {
    kind: name === 'ASK' ? 'ask' : 'moved',
    host: host === '' || host === '?' ? from.host : host,
    port: Number(port),
  };
}
