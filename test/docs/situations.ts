/** A test by the folder under test/ and its title, or the reason why nothing of ours can show it. */
export type Evidence = { readonly file: string; readonly shows: string } | { readonly because: string };

/** What shows that docs/what-if.md is right, by the titles of its situations. */
export const EVIDENCE: Readonly<Record<string, readonly Evidence[]>> = {
  // The host and the way to it.
  'The instance does not answer': [
    {
      file: 'action/host/job.test.ts',
      shows: 'outlasts polls that fail on the way, and a start whose answer got lost',
    },
    {
      file: 'action/host/ssm-host.test.ts',
      shows: 'tells an unknown, an offline and a Windows instance apart',
    },
    { file: 'scenarios/migration.scenario.ts', shows: 'adopts the running sync when the phase is run again' },
  ],
  'AWS refuses or does not answer': [
    { file: 'scenarios/host.scenario.ts', shows: 'bears throttling, lost invocations and lost commands' },
    { file: 'action/aws/aws-error.test.ts', shows: 'says of a denied call which permission is missing' },
  ],
  'The agent is killed, or runs out of memory': [
    {
      file: 'scenarios/migration.scenario.ts',
      shows: 'finds a killed sync dead, says so, and goes on from its checkpoint',
    },
    {
      file: 'agent/sync/journal.redis.test.ts',
      shows: 'takes up what an agent that was killed by -9 has left on disk',
    },
    { file: 'scenarios/gate.scenario.ts', shows: 'refuses a verification that a new copy made void' },
  ],
  'The host is rebooted': [
    { file: 'scenarios/migration.scenario.ts', shows: 'survives a reboot of the host' },
    { file: 'agent/redis/spool.test.ts', shows: 'of before a reboot' },
  ],
  'The host is lost for good': [
    { file: 'agent/sync/refusals.redis.test.ts', shows: 'refuses a target that another migration holds' },
    {
      file: 'agent/sync/refusals.redis.test.ts',
      shows: 'empties a target with foreign keys when it is told to',
    },
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'does not call a source restored that a fence without record still holds',
    },
  ],
  'The disk of the host is full': [
    {
      file: 'agent/sync/slow-target.redis.test.ts',
      shows: 'stops when the spool is full, and goes on from the checkpoint',
    },
  ],
  'The disk of the host fails': [
    { file: 'agent/redis/spool.test.ts', shows: 'names a disk on which nothing can be written' },
  ],
  'Two versions of the action meet': [
    {
      file: 'action/host/ssm-host.test.ts',
      shows: 'passes on what the agent refuses, and notices another version of the contract',
    },
  ],
  // The run of the workflow.
  'The run is cancelled': [
    {
      file: 'scenarios/host.scenario.ts',
      shows: 'with on-cancel $onCancel leaves the job $status and says so',
    },
    { file: 'agent/cutover/native.redis.test.ts', shows: 'lifts the fence when it is stopped' },
  ],
  'The job ends after six hours, or the phase after its own time': [
    { file: 'action/host/job.test.ts', shows: 'gives up waiting, not the job, when its time is over' },
    { file: 'scenarios/migration.scenario.ts', shows: 'adopts the running sync when the phase is run again' },
  ],
  'The credentials expire': [{ file: 'action/aws/aws-error.test.ts', shows: 'aws-credentials-expired' }],
  'The approval takes days': [
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'takes a delta verification for no younger than the full one',
    },
    { because: 'how long GitHub waits, and what it runs again, is said in its documentation' },
  ],
  'The approval is rejected': [{ because: 'GitHub then starts no job of ours' }],
  'The gate is open, or cannot be read': [
    {
      file: 'scenarios/gate.scenario.ts',
      shows: 'refuses a gate that stands open, and goes through one with reviewers',
    },
    { file: 'action/github/environment.test.ts', shows: 'is unreadable when GitHub is out of reach' },
  ],
  'The report cannot be written': [
    {
      file: 'scenarios/host.scenario.ts',
      shows: 'makes the phase fail, which has done its work and says so',
    },
  ],
  // The source and the target.
  'The source cannot keep up its replica': [
    {
      file: 'agent/sync/reconcile.redis.test.ts',
      shows: 'gives up a source that drops its replica in every copy',
    },
    { file: 'agent/sync/copy-budget.test.ts', shows: 'allows three copies in a row' },
    { file: 'agent/tune/plan.test.ts', shows: 'makes a copy faster and gives it room' },
  ],
  'A server cannot be reached for long': [
    {
      file: 'agent/sync/faults.redis.test.ts',
      shows: 'loses and doubles nothing when connections of either side are killed under load',
    },
    { file: 'scenarios/migration.scenario.ts', shows: 'refuses another migration onto the same target' },
  ],
  'The target fails over': [
    {
      file: 'agent/sync/journal.redis.test.ts',
      shows: 'goes on from its journal when the target fails over',
    },
    { file: 'faults/fault-table.ts', shows: 'the target fails over and loses its last writes' },
  ],
  'The target runs out of memory': [
    {
      file: 'agent/sync/refusals.redis.test.ts',
      shows: 'stops when the target is full, and nothing of the refused batch is applied',
    },
  ],
  'Somebody writes to the target, or empties it': [
    { file: 'agent/sync/refusals.redis.test.ts', shows: 'finds out that a stranger has emptied the target' },
    {
      file: 'agent/sync/refusals.redis.test.ts',
      shows: 'stops loudly when the target fails a command, and reconciles next time',
    },
    { file: 'agent/repair/repair.redis.test.ts', shows: 'removes extra keys and functions when told so' },
  ],
  'The source is restarted, or fails over': [
    {
      file: 'agent/sync/reconcile.redis.test.ts',
      shows: 'reconciles when the source comes back without what follows the journal',
    },
    { file: 'faults/fault-table.ts', shows: 'the source fails over and loses its last writes' },
    {
      file: 'agent/sync/reconcile.redis.test.ts',
      shows: 'refuses to write a source that came back empty over the target, which keeps every key',
    },
  ],
  'The source no longer sends notifications': [
    { file: 'agent/scan/gaps.redis.test.ts', shows: 'ends when the notifications are switched off' },
    {
      file: 'agent/scan/gaps.redis.test.ts',
      shows: 'started again after -9 removes what the source has no more',
    },
  ],
  'Notifications were lost': [
    {
      file: 'agent/scan/gaps.redis.test.ts',
      shows: 'goes over everything again when its subscription is killed, beside writers',
    },
    {
      file: 'agent/scan/gaps.redis.test.ts',
      shows: 'goes over everything again when the source has cut it off for an overflowing buffer',
    },
  ],
  'The target stays behind': [
    {
      file: 'agent/sync/slow-target.redis.test.ts',
      shows: 'drains the source while the target is frozen in the copy and in the stream',
    },
    { file: 'agent/sync/meter.test.ts', shows: 'names the throttle where a limit makes the wait' },
  ],
  'The target refuses something': [
    {
      file: 'agent/sync/refusals.redis.test.ts',
      shows: 'stops before it applies a command that the target does not know',
    },
    {
      file: 'agent/sync/refusals.redis.test.ts',
      shows: 'stops before it applies what is for a database that the target does not have',
    },
  ],
  'A password, certificate or permission changes': [
    {
      file: 'scenarios/secrets.scenario.ts',
      shows: 'are needed: without the client certificate, or with another authority, nothing is reached',
    },
    { file: 'scenarios/bad-states.scenario.ts', shows: 'source-auth-failed' },
  ],
  'Something was left out': [
    {
      file: 'scenarios/gate.scenario.ts',
      shows: 'refuses to hand over without the keys of a module, unless it is told to',
    },
  ],
  'The online migration fails': [
    {
      file: 'action/aws/online-migration.redis.test.ts',
      shows: 'fails for one out of reach, whatever an earlier test said',
    },
    {
      file: 'scenarios/migration.scenario.ts',
      shows: 'warns of the wipe when it is forced, and says why it failed',
    },
  ],
  'The backup fails': [
    { file: 'agent/backup/job.redis.test.ts', shows: 'fails when the save takes longer than allowed' },
    { file: 'action/aws/online-migration.redis.test.ts', shows: 'snapshot-failed' },
  ],
  // The verification.
  'The verification is red': [
    {
      file: 'scenarios/verify-alone.scenario.ts',
      shows: 'fails on a difference, names the list on the host, and repairs it when told to',
    },
  ],
  'The verification could not tell': [
    { file: 'agent/verify/upheavals.redis.test.ts', shows: 'databases that change places are no proof' },
    { file: 'agent/verify/cluster.redis.test.ts', shows: 'is not taken for compared' },
  ],
  'The repair is refused': [
    {
      file: 'agent/repair/repair.redis.test.ts',
      shows: 'while the fence of a cutover stands at the source, whoever has set it',
    },
    {
      file: 'scenarios/verify-alone.scenario.ts',
      shows: 'is refused: the target has taken over, and what it holds is newer',
    },
  ],
  // The cutover.
  'The cutover is refused': [
    {
      file: 'scenarios/gate.scenario.ts',
      shows: 'refuses without a verification, and leaves the source as it is',
    },
    { file: 'agent/cutover/replica.redis.test.ts', shows: 'is refused as %s when the sync is not live' },
  ],
  'The fence cannot be set': [
    {
      file: 'agent/cutover/fence.redis.test.ts',
      shows: 'is denied where nothing of it is allowed, and changes nothing',
    },
    {
      file: 'agent/cutover/fence.redis.test.ts',
      shows: 'is denied at a replica, whose writes come from elsewhere',
    },
  ],
  'The fence cannot be lifted': [
    {
      file: 'agent/cutover/native.redis.test.ts',
      shows: 'leaves a record of the fence when it cannot be lifted, and rollback lifts it then',
    },
  ],
  'The write pause is exceeded': [
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'lifts the fence when drain and proof do not fit, and the sync goes on',
    },
  ],
  'The proof finds a difference': [
    {
      file: 'scenarios/gate.scenario.ts',
      shows: 'refuses when the data came to differ after the verification, and lifts the fence',
    },
  ],
  'The cutover is killed': [
    { file: 'agent/cutover/keeper.scenario.ts', shows: 'at the stage %s, or soon after, leaves no half' },
    {
      file: 'agent/cutover/keeper.redis.test.ts',
      shows: 'the keeper brings a hand-over to its end that was decided before its cutover died',
    },
    {
      file: 'agent/cutover/keeper.redis.test.ts',
      shows: 'the keeper waits for a promotion, then lifts the fence, and the decision comes too late',
    },
    {
      file: 'scenarios/cutover-faults.scenario.ts',
      shows: 'that is killed on the host leaves the source as it was, and the next run completes',
    },
    {
      file: 'scenarios/promotion.scenario.ts',
      shows: 'is not followed by a sync over what it handed over, but goes on',
    },
  ],
  'The cutover hangs': [
    { file: 'agent/cutover/keeper.scenario.ts', shows: 'beyond its time is ended, and its fence lifted' },
  ],
  'The host is rebooted during a cutover': [
    {
      file: 'agent/cutover/fence.redis.test.ts',
      shows: 'that a dead process left is renewed, and still lifted to what was before the first',
    },
    {
      file: 'agent/cutover/native.redis.test.ts',
      shows: 'starts over after a death between fence and proof',
    },
    {
      file: 'agent/cutover/fence.redis.test.ts',
      shows: 'is a pause where neither CONFIG nor ACL may be used, which ends by itself',
    },
  ],
  'The run is lost during a cutover': [
    {
      file: 'scenarios/cutover-faults.scenario.ts',
      shows: 'whose action is killed goes on on the host, and the next run says that it is done',
    },
    {
      file: 'scenarios/cutover-faults.scenario.ts',
      shows: 'that loses Systems Manager goes on on the host, and the next run says that it is done',
    },
  ],
  'The source is restarted behind the fence': [
    {
      file: 'agent/cutover/fence.redis.test.ts',
      shows: 'that a restart of the source took away is found before anything is decided',
    },
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows:
        'says that its fence was lost behind the hand-over, and goes on behind one that is set again by hand',
    },
  ],
  'The hand-over is half done': [
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'goes on with the hand-over, behind the same fence, when it died in it',
    },
    {
      file: 'agent/cutover/expiry.redis.test.ts',
      shows: 'are settled to the end by another run, and no sync goes on meanwhile',
    },
  ],
  'ElastiCache does not promote': [
    {
      file: 'scenarios/promotion.scenario.ts',
      shows: 'that the role may not ask for lifts the fence, and a later cutover proves anew',
    },
    {
      file: 'scenarios/promotion.scenario.ts',
      shows: 'whose request got no answer keeps the fence, and the next run finds it promoted',
    },
  ],
  'A straggler is found': [
    {
      file: 'agent/cutover/stragglers.redis.test.ts',
      shows: 'that keeps writing to the fenced source is named with address, user and last command',
    },
  ],
  'The cutover is done and the applications fail at the target': [
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'is refused after the hand-over, and leaves both sides as they are',
    },
  ],
  // Rollback and cleanup.
  'The rollback is red': [
    {
      file: 'agent/cutover/replica.redis.test.ts',
      shows: 'restores the source though the target cannot be reached, and says so at the end',
    },
    {
      file: 'scenarios/promotion.scenario.ts',
      shows: 'lifts the fence although AWS refuses to end the online migration',
    },
  ],
  'Settings of the source were not restored': [
    {
      file: 'agent/tune/tuning.redis.test.ts',
      shows: 'keeps its record while it cannot be reached, and names what the values were',
    },
    {
      file: 'scenarios/tuning.scenario.ts',
      shows: 'warns of settings that a killed sync left, and restores them by a rollback',
    },
  ],
  'Another migration holds the target': [
    {
      file: 'scenarios/migration.scenario.ts',
      shows: 'refuses another migration onto the same target, from this host or from another',
    },
  ],
  'A phase comes too late, or too early': [
    {
      file: 'scenarios/migration.scenario.ts',
      shows: 'says again what was done when a completed phase is run again, and starts nothing anew',
    },
    { file: 'scenarios/bad-states.scenario.ts', shows: 'migration-unknown' },
  ],
};
