import type { JobRequestOf } from '../../../contract/jobs.ts';
import { formatBytes, formatDuration } from '../../../core/units.ts';
import {
  BACKLOG_BYTES_LEAST,
  BACKLOG_SECONDS,
  expectedBufferBytes,
  expectedCopyMs,
  planTuning,
  roundUp,
  type Tunable,
  type TuningPlan,
} from '../../tune/plan.ts';
import { type OutputBufferLimit, parseOutputBufferLimit, type TunableSetting } from '../../tune/settings.ts';
import { pass, type Ruling, warn } from '../ruling.ts';
import { numberField } from '../server-facts.ts';
import type { SourceFacts } from '../source-facts.ts';

type Request = Pick<JobRequestOf<'preflight'>, 'tuneSource' | 'sourceBytesPerSecondMax'>;
type ReplicationRule = (source: SourceFacts, request: Request) => Ruling;

/** Whether the source holds its writes long enough for a copy, and for a lost connection; and what tuning it would do. */
export const REPLICATION_RULES: readonly ReplicationRule[] = [
  ofEveryPrimary(judgeOutputBuffer),
  ofEveryPrimary(judgeBacklog),
  judgeTuning,
  judgeCanaries,
];

/** Of a source in cluster mode the primary that is worst off speaks for all; its settings are not changed. */
function ofEveryPrimary(rule: ReplicationRule): ReplicationRule {
  return (source, request) => {
    const rulings = source.shards.map((shard) => {
      const ruling = rule(shard, { ...request, tuneSource: false });
      return { ...ruling, detail: `${shard.server.address}: ${ruling.detail}` };
    });
    return rulings.find(({ status }) => status !== 'pass') ?? rulings[0] ?? rule(source, request);
  };
}

function judgeOutputBuffer(source: SourceFacts, request: Request): Ruling {
  const title = 'Replica output buffer of the source';
  const tunable = tunableOf(source, request);
  const copyMs = expectedCopyMs(tunable);
  const expectedBytes = expectedBufferBytes(tunable);
  const expected = `A copy of ${formatBytes(source.server.usedMemoryBytes)} may take ${formatDuration(copyMs)}, in which ${formatBytes(expectedBytes)} of writes come up (${formatBytes(source.load.writeBytesPerSecond)}/s)`;
  const name = 'client-output-buffer-limit';
  const limit = parseOutputBufferLimit(source.tunables?.get(name));
  if (limit === undefined) {
    return warn('output-buffer-unknown', {
      title,
      detail: `The limit could not be read. ${expected}.`,
      remedy: `Make sure that client-output-buffer-limit replica allows ${formatBytes(2 * expectedBytes)}.`,
    });
  }
  const isEnough = (one: OutputBufferLimit) => !isExceeded(one, 2 * expectedBytes, copyMs / 1000);
  const detail = `${expected}; the limit is ${describeLimit(limit)}.`;
  if (isEnough(limit)) return pass('output-buffer', { title, detail });
  const advisedBytes = roundUp(Math.max(4 * expectedBytes, BACKLOG_BYTES_LEAST));
  const planned = plannedValue(planTuning(tunable), name);
  const raised = parseOutputBufferLimit(planned);
  const wouldDo = !isOfCluster(source) && raised !== undefined && isEnough(raised);
  if (wouldDo && isTuned(source, request)) {
    return pass('output-buffer', { title, detail: `${detail} tune-source sets ${describeLimit(raised)}.` });
  }
  return warn('output-buffer-small', {
    title,
    detail,
    remedy: `${wouldDo ? 'Give `tune-source: true`, or ' : ''}CONFIG SET client-output-buffer-limit "replica ${advisedBytes} ${advisedBytes} 0"`,
  });
}

function judgeBacklog(source: SourceFacts, request: Request): Ruling {
  const title = 'Replication backlog of the source';
  const { writeBytesPerSecond } = source.load;
  const backlogBytes = numberField(source.info, 'repl_backlog_size');
  const neededBytes = writeBytesPerSecond * BACKLOG_SECONDS;
  const detail = `${formatBytes(backlogBytes)}, with ${formatBytes(writeBytesPerSecond)}/s of writes.`;
  if (backlogBytes >= neededBytes) return pass('backlog', { title, detail });
  const planned = Number(plannedValue(planTuning(tunableOf(source, request)), 'repl-backlog-size') ?? 0);
  const wouldDo = !isOfCluster(source) && planned >= neededBytes;
  if (wouldDo && isTuned(source, request)) {
    return pass('backlog', { title, detail: `${detail} tune-source sets ${formatBytes(planned)}.` });
  }
  const bridgedMs = (1000 * backlogBytes) / writeBytesPerSecond;
  return warn('backlog-small', {
    title,
    detail: `${detail} A connection that is lost for ${formatDuration(bridgedMs)} costs a new full copy.`,
    remedy: `${wouldDo ? 'Give `tune-source: true`, or ' : ''}CONFIG SET repl-backlog-size ${roundUp(Math.max(2 * neededBytes, BACKLOG_BYTES_LEAST))}`,
  });
}

/** Says what tune-source sets or would set, and what the copy gains by it. */
function judgeTuning(source: SourceFacts, request: Request): Ruling {
  const title = 'Settings of the source for the sync';
  const isWanted = request.tuneSource ?? false;
  const { tuning, tunables, cluster } = source;
  if (cluster !== undefined) {
    const detail = 'Those of a source in cluster mode are left as they are.';
    if (!isWanted) return pass('source-tuning', { title, detail });
    return warn('source-tuning-denied', { title, detail, remedy: 'Leave out `tune-source`.' });
  }
  if (tunables === undefined || tuning.state === 'denied') {
    const why = tuning.state === 'denied' ? tuning.detail : 'CONFIG GET is denied.';
    if (!isWanted) return pass('source-tuning', { title, detail: `They cannot be changed: ${why}` });
    return warn('source-tuning-denied', {
      title,
      detail: `tune-source has no effect, the sync goes on without: ${why}`,
      remedy: 'Allow the user `+config|get +config|set`, or leave out `tune-source`.',
    });
  }
  const plan = planTuning(tunableOf(source, request));
  const { settings, copyMs, tunedCopyMs } = plan;
  if (settings.length === 0) {
    const detail = `Nothing to set; a copy may take ${formatDuration(copyMs)}.${describeLeft(plan)}`;
    return pass('source-tuning', { title, detail });
  }
  const changes = settings.map(
    ({ name, before, set, reason }) => `${name} from "${before}" to "${set}" (${reason})`,
  );
  const sets = isWanted ? 'The sync sets, and restores afterwards:' : 'With tune-source the sync would set:';
  const takes = isWanted
    ? `A copy may then take ${formatDuration(tunedCopyMs)} instead of ${formatDuration(copyMs)}.`
    : `A copy may take ${formatDuration(copyMs)}, and with it ${formatDuration(tunedCopyMs)}.`;
  const detail = `${sets} ${changes.join('; ')}.${describeLeft(plan)} ${takes}`;
  return pass('source-tuning', { title, detail });
}

function judgeCanaries({ canaries, cluster }: SourceFacts): Ruling {
  const title = 'Lag in milliseconds';
  if (cluster !== undefined) {
    return pass('lag-canaries', {
      title,
      detail: 'It is counted from the arrival at the host: what is published in a cluster is in no stream.',
    });
  }
  if (canaries.state !== 'denied') {
    return pass('lag-canaries', {
      title,
      detail: 'It is measured by a PUBLISH a second on `__valkey-migrate__` at the source.',
    });
  }
  return warn('lag-canaries-denied', {
    title,
    detail: `It is counted from the arrival at the host only: ${canaries.detail}`,
    remedy: 'Allow the user `+publish &__valkey-migrate__`.',
  });
}

function isOfCluster({ info }: SourceFacts): boolean {
  return info.fields.get('cluster_enabled') === '1';
}

function tunableOf(source: SourceFacts, { sourceBytesPerSecondMax }: Request): Tunable {
  return { values: source.tunables ?? new Map(), load: source.load, sourceBytesPerSecondMax };
}

function isTuned({ tuning }: SourceFacts, { tuneSource }: Request): boolean {
  return (tuneSource ?? false) && tuning.state !== 'denied';
}

function plannedValue({ settings }: TuningPlan, name: TunableSetting): string | undefined {
  return settings.find((setting) => setting.name === name)?.set;
}

function describeLeft({ left }: TuningPlan): string {
  return left.map(({ name, reason }) => ` ${name} stays: ${reason}.`).join('');
}

function isExceeded(
  { hardBytes, softBytes, softSeconds }: OutputBufferLimit,
  bytes: number,
  seconds: number,
): boolean {
  return (
    (hardBytes > 0 && bytes > hardBytes) || (softBytes > 0 && bytes > softBytes && seconds > softSeconds)
  );
}

function describeLimit({ hardBytes, softBytes, softSeconds }: OutputBufferLimit): string {
  const hard = hardBytes === 0 ? 'no hard limit' : `${formatBytes(hardBytes)} hard`;
  const soft = softBytes === 0 ? 'no soft limit' : `${formatBytes(softBytes)} for ${softSeconds} s`;
  return `${hard}, ${soft}`;
}
