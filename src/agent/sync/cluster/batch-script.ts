import { createHash } from 'node:crypto';
import { MigrationError } from '../../../core/errors.ts';
import type { Access } from '../../redis/access.ts';
import { refusalError } from '../refusal.ts';
import type { WriteFailure } from '../target-writer.ts';

/*
 * EVALSHA sha 0 key expected prefix suffix base final *( head command )
 * head     = through * 8192 + number of arguments      one decimal number
 * through  = the offset behind the command, less base: what is committed if the next one fails
 * *        a checkpoint is prefix offset suffix
 */

/** The most arguments of a command in a batch: Lua spreads no longer list over a call (LUAI_MAXCSTACK is 8000). */
export const BATCH_COMMAND_ARGUMENTS_MAX = 7_000;
/** What the head of a command multiplies its offset with. */
export const HEAD_FACTOR = 8_192;

/**
 * Applies commands of several slots of one primary, and its checkpoint, as one: a transaction of a cluster can only
 * touch one slot, a script that declares no keys and has the flag `allow-cross-slot-keys` every slot of its node.
 *
 * It does nothing unless the checkpoint is the expected one: a batch that follows a refused one, or that an agent sent
 * before it was killed, changes nothing. Where a command fails, as when its slot is being moved, the checkpoint says
 * exactly what is before it, since what a script has written stays.
 */
export const BATCH_SCRIPT = `#!lua flags=allow-cross-slot-keys
local key, prefix, suffix = ARGV[1], ARGV[3], ARGV[4]
if redis.call('GET', key) ~= ARGV[2] then
  return redis.error_reply('STALE the checkpoint is another one than expected')
end
local at, last, done = 7, #ARGV, 0
while at <= last do
  local head = tonumber(ARGV[at])
  local count = head % ${HEAD_FACTOR}
  local reply = redis.pcall(unpack(ARGV, at + 1, at + count))
  if type(reply) == 'table' and reply.err then
    if done > 0 then
      redis.call('SET', key, prefix .. string.format('%.0f', tonumber(ARGV[5]) + done) .. suffix)
    end
    return redis.error_reply('STOPPED at ' .. ARGV[at + 1] .. ': ' .. reply.err)
  end
  done = (head - count) / ${HEAD_FACTOR}
  at = at + count + 1
end
redis.call('SET', key, ARGV[6])
return 1
`;

/** By what the script is called, once it is loaded. */
export const BATCH_SCRIPT_SHA = createHash('sha1').update(BATCH_SCRIPT).digest('hex');

/** The texts are those of valkey 7.2-9.1 and redis 7.0-8.0 (script.c, scripting_engine.c). */
const MOVED_AWAY = /access a non local key|the cluster is down|don't hash to the same slot/i;

/**
 * What a refused batch means; undefined for what is no matter of batches, such as READONLY.
 *
 * A slot that is elsewhere, a checkpoint that is another one and a script that is gone pass with a new session, which
 * looks at the cluster anew. Anything else that a command fails with had succeeded on the source.
 */
export function explainBatchRefusal(access: Access, text: string): WriteFailure | undefined {
  const [, command, reason] = /^-STOPPED at (\S+): (.*)$/.exec(text) ?? [];
  if (MOVED_AWAY.test(text) || /^-(STALE|NOSCRIPT)/.test(text)) {
    const error = new MigrationError(
      'target-not-ready',
      `The target ${access.address} could not apply a batch: ${text.slice(0, 300)}`,
    );
    return { error, isDivergence: false };
  }
  if (command === undefined || reason === undefined) return undefined;
  const isPassing = /^(READONLY|OOM|MISCONF|NOREPLICAS|CLUSTERDOWN|NOPERM)/.test(reason);
  const refusal = { command, text: `-${reason}`, isApplied: !isPassing };
  return { error: refusalError(access, refusal), isDivergence: !isPassing };
}
