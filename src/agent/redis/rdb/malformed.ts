import { MigrationError } from '../../../core/errors.ts';

/** The error for RDB bytes that break the grammar: the stream was damaged or is of a kind not known here. */
export function malformedRdb(what: string): MigrationError {
  return new MigrationError('source-protocol-error', `The RDB stream of the source is malformed: ${what}.`, {
    remedy: 'Run the phase again; if it stays, check the memory and the log of the source.',
  });
}
