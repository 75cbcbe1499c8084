/**
 * What shows that docs/what-if.md is right, by the titles of its situations: a test by its file under test/ and words of
 * its title, or why nothing of ours can show it.
 */
export const EVIDENCE: Readonly<Record<string, readonly string[]>> = {
  // The host and the way to it.
  'The instance does not answer': [
    'action/host/job.test.ts: outlasts polls that fail on the way, and a start whose answer got lost',
    'action/host/ssm-host.test.ts: tells an unknown, an offline and a Windows instance apart',
    'scenarios/migration.scenario.ts: adopts the running sync when the phase is run again',
  ],
  'AWS refuses or does not answer': [
    'scenarios/host.scenario.ts: bears throttling, lost invocations and lost commands',
    'action/aws/aws-error.test.ts: says of a denied call which permission is missing',
  ],
  'The agent is killed, or runs out of memory': [
    'scenarios/migration.scenario.ts: finds a killed sync dead, says so, and goes on from its checkpoint',
    'agent/sync/journal.redis.test.ts: takes up what an agent that was killed by -9 has left on disk',
    'scenarios/gate.scenario.ts: refuses a verification that a new copy made void',
  ],
  'The host is rebooted': [
    'scenarios/migration.scenario.ts: survives a reboot of the host',
    'agent/redis/spool.test.ts: of before a reboot',
  ],
  'The host is lost for good': [
    'scenarios/host.scenario.ts: is followed by another one, which copies anew when its claim was deleted by hand',
    'agent/cutover/replica.redis.test.ts: does not call a source restored that a fence without record still holds',
  ],
  'The disk of the host is full': [
    'agent/sync/slow-target.redis.test.ts: stops when the spool is full, and goes on from the checkpoint',
  ],
  'The disk of the host fails': ['agent/redis/spool.test.ts: names a disk on which nothing can be written'],
  'Two versions of the action meet': [
    'action/host/ssm-host.test.ts: passes on what the agent refuses, and notices another version of the contract',
  ],
  // The run of the workflow.
  'The run is cancelled': [
    'scenarios/host.scenario.ts: with on-cancel $onCancel leaves the job $status and says so',
    'agent/cutover/native.redis.test.ts: lifts the fence when it is stopped',
  ],
  'The job ends after six hours, or the phase after its own time': [
    'action/host/job.test.ts: gives up waiting, not the job, when its time is over',
    'scenarios/migration.scenario.ts: adopts the running sync when the phase is run again',
  ],
  'The credentials expire': ['action/aws/aws-error.test.ts: aws-credentials-expired'],
  'The approval takes days': [
    'agent/cutover/replica.redis.test.ts: takes a delta verification for no younger than the full one',
    'because how long GitHub waits, and what it runs again, is said in its documentation',
  ],
  'The approval is rejected': ['because GitHub then starts no job of ours'],
  'The gate is open, or cannot be read': [
    'scenarios/gate.scenario.ts: refuses a gate that stands open, and goes through one with reviewers',
    'action/github/environment.test.ts: is unreadable when GitHub is out of reach',
  ],
  'The report cannot be written': [
    'scenarios/host.scenario.ts: makes the phase fail, which has done its work and says so',
  ],
  // The source and the target.
  'The source cannot keep up its replica': [
    'agent/sync/reconcile.redis.test.ts: gives up a source that drops its replica in every copy',
    'agent/sync/copy-budget.test.ts: allows three copies in a row',
    'agent/tune/plan.test.ts: makes a copy faster and gives it room',
  ],
  'A server cannot be reached for long': [
    'agent/sync/faults.redis.test.ts: loses and doubles nothing when connections of either side are killed under load',
    'scenarios/migration.scenario.ts: refuses another migration onto the same target',
  ],
  'The target fails over': [
    'agent/sync/journal.redis.test.ts: goes on from its journal when the target fails over',
    'faults/fault-table.ts: the target fails over and loses its last writes',
  ],
  'The target runs out of memory': [
    'agent/sync/refusals.redis.test.ts: stops when the target is full, and nothing of the refused batch is applied',
  ],
  'Somebody writes to the target, or empties it': [
    'agent/sync/refusals.redis.test.ts: finds out that a stranger has emptied the target',
    'agent/sync/refusals.redis.test.ts: stops loudly when the target fails a command, and reconciles next time',
    'agent/repair/repair.redis.test.ts: removes extra keys and functions when told so',
  ],
  'The source is restarted, or fails over': [
    'agent/sync/reconcile.redis.test.ts: reconciles when the source comes back without what follows the journal',
    'faults/fault-table.ts: the source fails over and loses its last writes',
    'agent/sync/reconcile.redis.test.ts: refuses to write a source that came back empty over the target, which keeps every key',
  ],
  'Slots move at a source in cluster mode, or a shard fails over': [
    'agent/sync/shards/faults.redis.test.ts: reconciles all shards when slots of the source are moved under load, and ends equal',
    'agent/sync/shards/faults.redis.test.ts: goes on with the replica to which a primary of the source hands its slots over, and copies nothing',
    'agent/cutover/shards.redis.test.ts: is refused when a primary has failed over behind the fence',
  ],
  'The source no longer sends notifications': [
    'agent/scan/gaps.redis.test.ts: ends when the notifications are switched off',
    'agent/scan/gaps.redis.test.ts: started again after -9 removes what the source has no more',
  ],
  'Notifications were lost': [
    'agent/scan/gaps.redis.test.ts: goes over everything again when its subscription is killed, beside writers',
    'agent/scan/gaps.redis.test.ts: goes over everything again when the source has cut it off for an overflowing buffer',
  ],
  'The target stays behind': [
    'agent/sync/slow-target.redis.test.ts: drains the source while the target is frozen in the copy and in the stream',
    'agent/sync/meter.test.ts: names the throttle where a limit makes the wait',
  ],
  'The target refuses something': [
    'agent/sync/refusals.redis.test.ts: stops before it applies a command that the target does not know',
    'agent/sync/refusals.redis.test.ts: stops before it applies what is for a database that the target does not have',
  ],
  'A password, certificate or permission changes': [
    'scenarios/secrets.scenario.ts: are needed: without the client certificate, or with another authority, nothing is reached',
    'scenarios/bad-states.scenario.ts: source-auth-failed',
  ],
  'A password is not for this server': [
    'scenarios/password-servers.scenario.ts: a role for reading has no password shown to a server of its own',
  ],
  'Something was left out': [
    'scenarios/gate.scenario.ts: refuses to hand over without the keys of a module, unless it is told to',
  ],
  'The online migration fails': [
    'action/aws/online-migration.redis.test.ts: fails for one out of reach, whatever an earlier test said',
    'scenarios/migration.scenario.ts: warns of the wipe when it is forced, and says why it failed',
  ],
  'The backup fails': [
    'agent/backup/job.redis.test.ts: fails when the save takes longer than allowed',
    'action/aws/online-migration.redis.test.ts: snapshot-failed',
  ],
  // The verification.
  'The verification is red': [
    'scenarios/verify-alone.scenario.ts: fails on a difference, names the list on the host, and repairs it when told to',
  ],
  'The verification could not tell': [
    'agent/verify/upheavals.redis.test.ts: databases that change places are no proof',
    'agent/verify/cluster.redis.test.ts: is not taken for compared',
  ],
  'The repair is refused': [
    'agent/repair/repair.redis.test.ts: while the fence of a cutover stands at the source, whoever has set it',
    'scenarios/verify-alone.scenario.ts: is refused: the target has taken over, and what it holds is newer',
  ],
  // The cutover.
  'The cutover is refused': [
    'scenarios/gate.scenario.ts: refuses without a verification, and leaves the source as it is',
    'scenarios/gate.scenario.ts: refuses when another verification has run since the one that was reviewed',
    'agent/cutover/replica.redis.test.ts: is refused as %s when the sync is not live',
  ],
  'The fence cannot be set': [
    'agent/cutover/fence.redis.test.ts: is denied where nothing of it is allowed, and changes nothing',
    'agent/cutover/fence.redis.test.ts: is denied at a replica, whose writes come from elsewhere',
  ],
  'The fence cannot be lifted': [
    'agent/cutover/native.redis.test.ts: leaves a record of the fence when it cannot be lifted, and rollback lifts it then',
  ],
  'The write pause is exceeded': [
    'agent/cutover/replica.redis.test.ts: lifts the fence when drain and proof do not fit, and the sync goes on',
  ],
  'The proof finds a difference': [
    'scenarios/gate.scenario.ts: refuses when the data came to differ after the verification, and lifts the fence',
  ],
  'The cutover is killed': [
    'agent/cutover/keeper.scenario.ts: at the stage %s, or soon after, leaves no half',
    'agent/cutover/keeper.redis.test.ts: the keeper brings a hand-over to its end that was decided before its cutover died',
    'agent/cutover/keeper.redis.test.ts: the keeper waits for a promotion, then lifts the fence, and the decision comes too late',
    'scenarios/cutover-faults.scenario.ts: that is killed on the host leaves the source as it was, and the next run completes',
    'scenarios/promotion.scenario.ts: is not followed by a sync over what it handed over, but goes on',
  ],
  'The cutover hangs': ['agent/cutover/keeper.scenario.ts: beyond its time is ended, and its fence lifted'],
  'The host is rebooted during a cutover': [
    'scenarios/cutover-faults.scenario.ts: that is rebooted behind the fence leaves a source that takes writes again, by the next run at the latest',
    'agent/cutover/fence.redis.test.ts: that a dead process left is renewed, and still lifted to what was before the first',
    'agent/cutover/native.redis.test.ts: starts over after a death between fence and proof',
    'agent/cutover/fence.redis.test.ts: is a pause where neither CONFIG nor ACL may be used, which ends by itself',
  ],
  'The run is lost during a cutover': [
    'scenarios/cutover-faults.scenario.ts: whose action is killed goes on on the host, and the next run says that it is done',
    'scenarios/cutover-faults.scenario.ts: that loses Systems Manager goes on on the host, and the next run says that it is done',
  ],
  'The source is restarted behind the fence': [
    'agent/cutover/fence.redis.test.ts: that a restart of the source took away is found before anything is decided',
    'agent/cutover/replica.redis.test.ts: whose source took writes since, behind a lost',
  ],
  'The hand-over is half done': [
    'agent/cutover/replica.redis.test.ts: goes on with the hand-over, behind the same fence, when it died in it',
    'agent/cutover/expiry.redis.test.ts: are settled to the end by another run, and no sync goes on meanwhile',
  ],
  'ElastiCache does not promote': [
    'scenarios/promotion.scenario.ts: that the role may not ask for lifts the fence, and a later cutover proves anew',
    'scenarios/promotion.scenario.ts: whose request never gets there keeps the fence, says so, and the next run asks again',
  ],
  'A straggler is found': [
    'agent/cutover/stragglers.redis.test.ts: that keeps writing to the fenced source is named with address, user and last command',
  ],
  'The cutover is done and the applications fail at the target': [
    'agent/cutover/replica.redis.test.ts: is refused after the hand-over, and leaves both sides as they are',
  ],
  // The way back.
  'A way back is not possible': [
    'scenarios/reverse.scenario.ts: says before the migration that a default parameter group rules a way back out',
    'scenarios/reverse.scenario.ts: does not fence for a way back of which the target would not tell',
    'agent/preflight/way-back.redis.test.ts: names what the user at the target may not do',
  ],
  'The way back is not kept up': [
    'agent/cutover/way-back.scenario.ts: sets the fence again when that was restarted, and takes back what came in between',
    'scenarios/reverse.scenario.ts: gives the way back up, and leaves a source that is fenced for everybody',
  ],
  'The old source was written to': [
    'agent/cutover/way-back.scenario.ts: is refused when somebody has lifted the fence at the old source',
  ],
  'Going back is interrupted': [
    'agent/cutover/way-back.scenario.ts: that is killed at the stage %s, or soon after, leaves no half',
  ],
  // Rollback and cleanup.
  'The rollback is red': [
    'agent/cutover/replica.redis.test.ts: restores the source though the target cannot be reached, and says so at the end',
    'scenarios/promotion.scenario.ts: lifts the fence although AWS refuses to end the online migration',
  ],
  'Settings of the source were not restored': [
    'agent/tune/tuning.redis.test.ts: keeps its record while it cannot be reached, and names what the values were',
    'scenarios/tuning.scenario.ts: warns of settings that a killed sync left, and restores them by a rollback',
  ],
  'Another migration holds the target': [
    'scenarios/migration.scenario.ts: refuses another migration onto the same target, from this host or from another',
  ],
  'A phase comes too late, or too early': [
    'scenarios/migration.scenario.ts: says again what was done when a completed phase is run again, and starts nothing anew',
    'scenarios/bad-states.scenario.ts: migration-unknown',
  ],
};
