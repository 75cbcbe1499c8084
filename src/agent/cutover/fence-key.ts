import type { Client } from '../redis/client.ts';
import { slotTag } from '../redis/cluster/slots.ts';

/** A key that nobody has, by which a fence is tried; in a slot of the primary where there are slots. */
export function fenceKey(client: Client, slot: number | undefined): string {
  return `__valkey-migrate-fence__${slot === undefined ? client.access.address : `{${slotTag(slot)}}`}`;
}
