/** The outputs of the action: every name stands in action.yml, and the other way round. */
export const OUTPUT_NAMES = [
  'result',
  'error-code',
  'report-path',
  'summary-path',
  'migration-id',
  'route',
  'migration-status',
  'lag-bytes',
  'keys-compared',
  'differences',
  'skipped',
  'verification-id',
  'snapshot-name',
  'write-pause-ms',
  'primary-endpoint',
  'reader-endpoint',
  'engine-version',
] as const;
/** The name of an output. */
export type OutputName = (typeof OUTPUT_NAMES)[number];
/** What a phase has to say to later steps; an output that is not known is left out. */
export type Outputs = Partial<Record<OutputName, string>>;
