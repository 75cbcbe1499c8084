/**
 * The version of what the runner and the host say to each other.
 *
 * Raise it with every change of a schema in this folder: a host may still run a job that an older action started.
 */
export const CONTRACT_VERSION = 1;
