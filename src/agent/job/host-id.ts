import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * Names this host and state folder: two syncs onto one target are the same one only when both are the same.
 *
 * Source of the machine id: machine-id(5).
 */
export function hostId(stateDirectory: string): string {
  let machineId = '';
  try {
    machineId = readFileSync('/etc/machine-id', 'utf8').trim();
  } catch {
    // Not every system has one; the name and the folder still tell hosts apart.
  }
  return createHash('sha256')
    .update(`${machineId}\n${hostname()}\n${stateDirectory}`)
    .digest('hex')
    .slice(0, 16);
}
