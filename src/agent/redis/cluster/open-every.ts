import type { Access } from '../access.ts';
import type { Topology } from './topology.ts';

/** Opens something to every node, in their order; when one fails, what is open is closed again. */
export async function openEvery<Opened extends AsyncDisposable>(
  { nodes }: Topology,
  open: (access: Access) => Promise<Opened>,
): Promise<readonly Opened[]> {
  const opened: Opened[] = [];
  try {
    for (const { access } of nodes) opened.push(await open(access));
    return opened;
  } catch (error) {
    await closeEvery(opened);
    throw error;
  }
}

/** Closes all of them. */
export async function closeEvery(opened: readonly AsyncDisposable[]): Promise<void> {
  await Promise.all(opened.map((one) => one[Symbol.asyncDispose]()));
}
