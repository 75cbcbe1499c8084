/** What the documentation says of a code, and what an error falls back on. */
export type ErrorCodeEntry = {
  /** When it is raised, as one sentence. */
  readonly when: string;
  /** What to do, unless the error itself knows better. */
  readonly remedy: string;
  /** Whether the same call may succeed later without any change. */
  readonly retryable: boolean;
};

/** Every code there is: the table that errors, preflight findings and the page `docs/errors.md` share. */
export const ERROR_CODES = {
  // Inputs of the action and of the agent's command line.
  'input-missing': {
    when: 'A required input is empty.',
    remedy: 'Give the input that the message names.',
    retryable: false,
  },
  'input-malformed': {
    when: 'An input does not have the shape it must have.',
    remedy: 'Correct the input that the message names.',
    retryable: false,
  },
  'input-unknown-phase': {
    when: 'The input `phase` is none of the phases.',
    remedy:
      'Use one of: preflight, backup, start-migration, status, verify, complete-migration, rollback, cleanup.',
    retryable: false,
  },
  'input-contradictory': {
    when: 'Two inputs exclude each other, or one needs another that is not given.',
    remedy: 'Change one of the inputs that the message names.',
    retryable: false,
  },

  // AWS as a whole.
  'aws-credentials-missing': {
    when: 'No AWS credentials were found, or AWS does not accept them.',
    remedy:
      'Run aws-actions/configure-aws-credentials before this step, and give the job `permissions: id-token: write`.',
    retryable: false,
  },
  'aws-credentials-expired': {
    when: 'The credentials of the job expired while the phase was running; its job on the host goes on.',
    remedy:
      'Run the phase again, which adopts the job on the host; for long waits raise `role-duration-seconds` and the maximum session duration of the role.',
    retryable: true,
  },
  'aws-access-denied': {
    when: 'The role of the job may not make a call that the phase needs.',
    remedy: 'Add the permission that the message names to the role; the README lists them by phase.',
    retryable: false,
  },
  'aws-throttled': {
    when: 'AWS kept throttling a call for longer than the retries last.',
    remedy: 'Run the phase again in a minute; it picks up where it was.',
    retryable: true,
  },
  'aws-unavailable': {
    when: 'AWS did not answer, or answered with a server error, for longer than the retries last.',
    remedy: 'Check the network of the runner and the AWS status page, then run the phase again.',
    retryable: true,
  },

  // ElastiCache.
  'replication-group-not-found': {
    when: 'ElastiCache knows no replication group of this id in this region.',
    remedy: 'Check `replication-group-id` and `aws-region`.',
    retryable: false,
  },
  'replication-group-not-available': {
    when: 'The replication group is not in the status `available`, which the phase needs.',
    remedy: 'Wait until the replication group is available, then run the phase again.',
    retryable: true,
  },
  'replication-group-migrating': {
    when: 'An online migration is already running on the replication group.',
    remedy: 'Go on with `status`, `verify` or `complete-migration`, or end it with `rollback`.',
    retryable: false,
  },
  'replication-group-not-migrating': {
    when: 'The phase ends an online migration, and none is running on the replication group.',
    remedy: 'Run `start-migration` first.',
    retryable: false,
  },
  'replication-group-unsuitable': {
    when: 'A property of the replication group rules the route out (cluster mode, Multi-AZ, transit encryption).',
    remedy: 'Change the property that the message names, or choose another route.',
    retryable: false,
  },
  'migration-test-failed': {
    when: 'ElastiCache tested the connection to the source and reported a failure.',
    remedy:
      'Open the security groups between ElastiCache and the source, and check `bind`, `protected-mode` and AUTH at the source.',
    retryable: false,
  },
  'migration-start-failed': {
    when: 'ElastiCache went back to `available` after StartMigration: the target could not become a replica of the source.',
    remedy: 'Read the events in the report. The target may have been emptied by the attempt.',
    retryable: false,
  },
  'migration-promotion-failed': {
    when: 'ElastiCache did not complete the migration: the replication group is still migrating.',
    remedy: 'Read the events in the report, then run complete-migration again or roll back.',
    retryable: true,
  },
  'snapshot-failed': {
    when: 'ElastiCache could not make the snapshot of the target.',
    remedy: 'Read the message of ElastiCache, or go without a target snapshot: `snapshot-target: false`.',
    retryable: false,
  },

  // SSM and the instance.
  'instance-not-managed': {
    when: 'Systems Manager knows no such instance: it does not exist, is stopped, or has no working SSM agent.',
    remedy:
      'Check `instance-id` and the region, start the instance, and give it an instance profile with AmazonSSMManagedInstanceCore.',
    retryable: false,
  },
  'instance-offline': {
    when: 'The instance is managed, but its SSM agent is not Online.',
    remedy: 'Start the instance or its amazon-ssm-agent, and check its way to the SSM endpoints.',
    retryable: true,
  },
  'instance-platform-unsupported': {
    when: 'The instance does not run Linux.',
    remedy: 'Choose a Linux instance that reaches both the source and the target.',
    retryable: false,
  },
  'ssm-document-unsuitable': {
    when: 'The document of `ssm-document` is not there, or refuses what the action sends it.',
    remedy:
      'Deploy templates/identity.yaml of this release, with the SHA-256 of its agent and the `state-directory` of the workflow.',
    retryable: false,
  },
  'host-access-denied': {
    when: 'The document of `ssm-document` does not let the agent do what the phase asks for.',
    remedy:
      'Give each phase the document of its role: `-read`, `-change` or `-cutover`. A `repair` needs that of changes.',
    retryable: false,
  },
  'command-undeliverable': {
    when: 'Systems Manager could not deliver a command to the instance.',
    remedy: 'Check the SSM agent of the instance, then run the phase again.',
    retryable: true,
  },
  'command-timeout': {
    when: 'A command on the instance did not start or did not end in its time.',
    remedy: 'Check the load of the instance, then run the phase again; jobs on the host go on.',
    retryable: true,
  },
  'command-cancelled': {
    when: 'Somebody cancelled a command of this phase in Systems Manager.',
    remedy: 'Run the phase again; jobs on the host go on.',
    retryable: true,
  },
  'command-failed': {
    when: 'A command on the host ended with an error before the agent could answer.',
    remedy: 'Read the error output in the message; the host must allow what it names.',
    retryable: false,
  },
  'host-reply-malformed': {
    when: 'The host answered with something that is not a reply of the agent.',
    remedy: 'Run the phase again; if it stays, look at the error output of the SSM command on the instance.',
    retryable: true,
  },

  // The host and the agent.
  'host-node-missing': {
    when: 'The host has no Node.js of version 20 or later.',
    remedy:
      'Install Node.js 20 or later on the host, or set `install-node: true` to install it with the package manager of the host.',
    retryable: false,
  },
  'host-node-install-failed': {
    when: 'The package manager of the host could not install Node.js 20 or later.',
    remedy: 'Install Node.js 20 or later on the host by hand.',
    retryable: false,
  },
  'host-state-unwritable': {
    when: 'The state directory cannot be made or written on the host.',
    remedy:
      'Check the disk and the rights of the directory that the message names, or set `state-directory`.',
    retryable: false,
  },
  'agent-corrupt': {
    when: 'The agent that arrived on the host does not have the checksum of the one that was sent.',
    remedy: 'Run the phase again; if it stays, check the disk of the host.',
    retryable: true,
  },
  'contract-mismatch': {
    when: 'The action and the state on the host are of versions that do not understand each other.',
    remedy: 'Run every phase of one migration with the same version of the action.',
    retryable: false,
  },
  'secret-unreadable': {
    when: 'A password that was given by name could not be fetched on the host, or not be opened there.',
    remedy:
      'Check the name, and that the instance role (or the user on the host) may read it; a variable of the runner must be in the `env` of the step. One that was sealed for what has changed since is sealed anew when the phase is run again.',
    retryable: false,
  },
  'password-server-unknown': {
    when: 'A password that lies on the host by name was to be shown to a server that nobody has named for it who may.',
    remedy:
      'Where that is the right server, add it to `PasswordServers` of templates/identity.yaml, or run start-migration, whose document makes it known for this migration.',
    retryable: false,
  },

  // Jobs and migrations.
  'job-dead': {
    when: 'A job on the host ended without a word: killed, or the host was restarted.',
    remedy: 'Read the reason in the message and run the phase again; a sync resumes from its checkpoint.',
    retryable: true,
  },
  'job-stopped': {
    when: 'A job on the host was stopped before it was done.',
    remedy: 'Run the phase again.',
    retryable: true,
  },
  'job-unknown': {
    when: 'The host has no such job of this migration.',
    remedy: 'Run the phase that starts it first.',
    retryable: false,
  },
  'migration-conflict': {
    when: 'Another migration holds the target: one of another id, repository or host.',
    remedy: 'End the other migration with `rollback` or `complete-migration` where it was started.',
    retryable: false,
  },
  'migration-unknown': {
    when: 'The host knows no migration of this id.',
    remedy: 'Run start-migration first, or check `migration-id` and `instance-id`.',
    retryable: false,
  },
  'migration-completed': {
    when: 'The migration is already complete: the target has taken over.',
    remedy: 'Run `status` for the endpoint, or `cleanup`. To migrate again, use another `migration-id`.',
    retryable: false,
  },

  // Source.
  'source-unreachable': {
    when: 'No connection to the source from the host.',
    remedy: 'Check `source-endpoint`, that the source listens there, and the security groups on the way.',
    retryable: true,
  },
  'source-auth-failed': {
    when: 'The source refused the user or the password, or wants one that was not given.',
    remedy: 'Check `source-username` and `source-password-from`.',
    retryable: false,
  },
  'source-permission-denied': {
    when: 'The user at the source may not run a command that is needed.',
    remedy: 'Give the user the command that the message names.',
    retryable: false,
  },
  'source-tls-failed': {
    when: 'The TLS connection to the source failed: certificate, name or protocol.',
    remedy:
      'Check `source-tls` and `source-ca-file`, and where the source asks for a client certificate `source-client-cert-file`.',
    retryable: false,
  },
  'source-not-ready': {
    when: 'The source is loading its data, busy, or has lost its own master.',
    remedy: 'Wait until the source serves commands, then run the phase again.',
    retryable: true,
  },
  'source-slots-moved': {
    when: 'Slots of the cluster of the source are being moved between its nodes, or a node failed over while all keys were gone over.',
    remedy: 'Wait until the cluster stays as it is, then run the phase again.',
    retryable: true,
  },
  'source-protocol-error': {
    when: 'What answers at the source does not speak the Redis protocol as expected.',
    remedy: 'Check `source-endpoint` and `source-tls`.',
    retryable: false,
  },
  'source-version-unsupported': {
    when: 'The source is older than Redis 5.0, or so new that the format of its data is not known.',
    remedy: 'Use Redis 5.0 to 8.4 or Valkey as the source.',
    retryable: false,
  },
  'source-cluster-unsupported': {
    when: 'The source is in cluster mode, which the route does not serve, or has too many primaries.',
    remedy:
      'Use `route: replica` or `route: scan`, which follow a cluster of up to 32 primaries, and on the route replica a target with few shards.',
    retryable: false,
  },
  'source-modules-unsupported': {
    when: 'The source holds data of a module that the target does not have, which would end the online migration of ElastiCache.',
    remedy: 'Use `route: replica`, which leaves it out and lists it, or remove the keys of the module.',
    retryable: false,
  },
  'source-data-unsupported': {
    when: 'The source holds a value that the target cannot hold or that is not understood.',
    remedy: 'Remove or change the data that the message names, then start again.',
    retryable: false,
  },
  'source-bind-loopback': {
    when: 'The source listens on loopback or in protected mode only, so that ElastiCache cannot reach it.',
    remedy: 'Set `bind` to the private address and `protected-mode no`, or use `route: replica`.',
    retryable: false,
  },
  'backup-failed': {
    when: 'The source could not write its RDB file.',
    remedy: 'Read the log of the source (disk, memory for the fork), or go without: `backup-source: false`.',
    retryable: false,
  },

  // Target.
  'target-unreachable': {
    when: 'No connection to the target from the host.',
    remedy: 'Open the security group of the replication group for the host, port 6379.',
    retryable: true,
  },
  'target-auth-failed': {
    when: 'The target refused the user or the password, or wants one that was not given.',
    remedy: 'Check `target-username` and `target-password-from`.',
    retryable: false,
  },
  'target-permission-denied': {
    when: 'The user at the target may not run a command that is needed.',
    remedy: 'Give the user the command that the message names.',
    retryable: false,
  },
  'target-tls-failed': {
    when: 'The TLS connection to the target failed: certificate, name or protocol.',
    remedy: 'Check `target-ca-file`, and that the endpoint is the one of the replication group.',
    retryable: false,
  },
  'target-not-empty': {
    when: 'The target holds keys that this migration did not write.',
    remedy: 'Check that it is the right target; then set `flush-target: true` to empty it before the copy.',
    retryable: false,
  },
  'target-not-ready': {
    when: 'The target is loading its data, busy, or has lost its master.',
    remedy: 'Wait until the target serves commands, then run the phase again.',
    retryable: true,
  },
  'target-slots-moved': {
    when: 'Slots of the cluster of the target were moved between its nodes, or a node failed over, while all keys were gone over.',
    remedy: 'Wait until the cluster stays as it is, then run the phase again.',
    retryable: true,
  },
  'target-protocol-error': {
    when: 'What answers at the target does not speak the Redis protocol as expected.',
    remedy: 'Check the endpoint of the replication group and its transit encryption.',
    retryable: false,
  },
  'target-memory-too-small': {
    when: 'The data of the source does not fit into the memory of the target.',
    remedy: 'Choose a larger node type for the replication group.',
    retryable: false,
  },
  'target-read-only': {
    when: 'The endpoint of the target is a replica that takes no writes.',
    remedy: 'Use the primary endpoint; end an online migration that is running on the target.',
    retryable: true,
  },
  'target-databases-too-few': {
    when: 'The source uses a database number that the target does not have.',
    remedy: 'Raise `databases` in the parameter group of the target.',
    retryable: false,
  },
  'target-refused-command': {
    when: 'The target refused a command of the sync.',
    remedy: 'Read the refusal in the message; nothing after it was applied.',
    retryable: false,
  },

  // Routes.
  'route-native-rdb-version': {
    when: 'The source writes an RDB version that a Valkey target refuses, which wipes the target.',
    remedy: 'Use `route: replica`, which carries the data itself.',
    retryable: false,
  },
  'route-native-auth': {
    when: 'The source needs a password, which the online migration of ElastiCache cannot give.',
    remedy: 'Use `route: replica`.',
    retryable: false,
  },
  'route-native-tls': {
    when: 'The source or the target has TLS, which the online migration of ElastiCache cannot use.',
    remedy: 'Use `route: replica`.',
    retryable: false,
  },
  'route-replica-denied': {
    when: 'The source refuses PSYNC to this user, or has it renamed away.',
    remedy: 'Allow the user `+psync +replconf +ping`.',
    retryable: false,
  },
  'notifications-missing': {
    when: 'The source does not send the keyspace notifications by which the route scan follows it.',
    remedy:
      'Set `notify-keyspace-events` at the source to `EA` at least: by CONFIG SET, in the console of the provider, or in the parameter group.',
    retryable: false,
  },
  'route-none': {
    when: 'No route serves this pair of source and target.',
    remedy: 'Read in the findings what rules each route out, and change one of them.',
    retryable: false,
  },
  'route-changed': {
    when: 'The migration was started on another route than the one asked for now.',
    remedy: 'Leave `route` as it was, or end the migration with `rollback` first.',
    retryable: false,
  },

  // Sync.
  'sync-lost': {
    when: 'The sync lost the source or the target and could not go on.',
    remedy:
      'Run start-migration again: it resumes from the checkpoint, or reconciles the target with a full copy where it cannot.',
    retryable: true,
  },
  'spool-full': {
    when: 'The source sent more than the target took, and what waited on the host has filled the space it may use on disk.',
    remedy:
      'Find out why the target is slow, or give the host more disk; then run start-migration again: it resumes from the checkpoint, or reconciles the target with a full copy where it cannot.',
    retryable: true,
  },
  'spool-failed': {
    when: 'The disk of the host failed while it kept what the target could not take yet.',
    remedy:
      'Check the disk of the host, then run start-migration again: it resumes from the checkpoint, or reconciles the target with a full copy where it cannot.',
    retryable: true,
  },
  'sync-not-running': {
    when: 'The phase needs a running sync, and there is none.',
    remedy: 'Run start-migration.',
    retryable: false,
  },
  'claim-lost': {
    when: 'The target was emptied while it was synced, or the key by which a migration holds it was deleted.',
    remedy:
      'Find out who writes to the target and keep them from it. Then run start-migration with `flush-target: true`, which copies anew.',
    retryable: false,
  },
  'sync-behind': {
    when: 'The target did not catch up with the source in the time given.',
    remedy:
      'Run the phase again: the sync goes on. If it stays behind, look at the bottleneck in the report.',
    retryable: true,
  },

  'link-down': {
    when: 'On the native route the target did not catch up with the source: its replication link stays down or behind.',
    remedy: 'Read the events in the report; check the security groups and the log of the source.',
    retryable: true,
  },

  // Verification and cutover.
  'verification-missing': {
    when: 'No full verification of this migration has passed.',
    remedy: 'Run `verify`.',
    retryable: false,
  },
  'verification-superseded': {
    when: 'The verification that was reviewed is not the newest one of this migration.',
    remedy: 'Run the workflow again from `verify` on, and let the new report be reviewed.',
    retryable: false,
  },
  'verification-stale': {
    when: 'The last full verification is older than allowed.',
    remedy: 'Run `verify` again, or raise `verification-max-age-minutes`.',
    retryable: false,
  },
  'verification-different': {
    when: 'The verification found more differences than `max-differences` allows.',
    remedy:
      'Read the differences in the report. Where the target is wrong, run `verify` with `repair`, or start-migration anew.',
    retryable: false,
  },
  'repair-refused': {
    when: 'A repair was asked for where the target may hold what is newer than the source, or is not to be written to.',
    remedy:
      'Verify without `repair`. Before a cutover, wait until the sync is live; after one, the target is the truth.',
    retryable: false,
  },
  'data-skipped': {
    when: 'The sync or the verification left something out that the target cannot hold, such as the keys of a module.',
    remedy:
      'Look at what was left out. To hand over without it, give `allow-skipped: true`; else remove it at the source or move it by other means, and verify again.',
    retryable: false,
  },
  'verification-incomplete': {
    when: 'The verification could not read all keys of both sides.',
    remedy: 'Read the reason in the message, then run `verify` again.',
    retryable: true,
  },
  'environment-unprotected': {
    when: 'No environment guards the cutover, or it does not exist, or it has no required reviewers.',
    remedy:
      'Name an environment with required reviewers in `cutover-environment`, or set `allow-unprotected-environment: true`.',
    retryable: false,
  },
  'environment-unreadable': {
    when: 'The protection of the environment could not be read from GitHub.',
    remedy:
      'Give the job `permissions: actions: read` and the input `github-token`; when GitHub itself is out of order, run the phase again later.',
    retryable: true,
  },
  'fence-denied': {
    when: 'Writes at the source could not be fenced.',
    remedy:
      'Allow the user at the source `+config|get +config|set +client|pause +client|unpause`, or `+acl|users +acl|getuser +acl|setuser`.',
    retryable: false,
  },
  'fence-lost': {
    when: 'The fence fell before the migration was marked complete, and what the source took since is not at the target.',
    remedy:
      'Where the applications went on at the source, run `rollback`, then start-migration with `flush-target: true`, and cut over again. Where they write to the target already, stop those that still write to the source, copy by hand what `verify` lists, and run complete-migration with `max-differences` as high as what must still differ.',
    retryable: false,
  },
  'way-back-impossible': {
    when: 'A way back was asked for with `reverse: true`, and these servers do not allow one.',
    remedy: 'Do what the message names, or migrate without `reverse`.',
    retryable: false,
  },
  'way-back-missing': {
    when: 'The migration has no way back, or not any more.',
    remedy:
      'A way back begins with complete-migration and `reverse: true`; `status` shows where the migration stands.',
    retryable: false,
  },
  'way-back-unfenced': {
    when: 'The fence at the old source, behind which only the way back may write, did not hold.',
    remedy:
      'Run start-migration with `direction: reverse`: it sets the fence again, and goes over everything. Then run verify and complete-migration with `direction: reverse`.',
    retryable: false,
  },
  'parameter-group-unmodifiable': {
    when: 'Keyspace notifications of the target, which a way back needs, cannot be switched on in its parameter group.',
    remedy:
      'Make a parameter group of the same family with `notify-keyspace-events` `EA`, give it to the replication group (no restart is needed), and run the phase again; or migrate without `reverse`.',
    retryable: false,
  },
  'tuning-not-restored': {
    when: 'Settings of the source that were changed with `tune-source` could not be set back.',
    remedy:
      'Make the source reachable, with `+config|get +config|set` for its user, and run the phase again; or set the values by hand that the message names.',
    retryable: true,
  },
  'source-shrunk': {
    when: 'The target can only be reconciled with a full copy, and the source holds far fewer keys than it: the source may have lost its data.',
    remedy:
      'Check the source. If it is right as it is, run rollback with `flush-target: true`, then start-migration; else the target holds the newer data.',
    retryable: false,
  },
  'write-pause-exceeded': {
    when: 'Drain and proof did not fit into `max-write-pause-seconds`; the fence was lifted and the sync goes on.',
    remedy: 'Run complete-migration at a quieter time, or raise `max-write-pause-seconds`.',
    retryable: true,
  },

  // The run itself.
  'report-unwritable': {
    when: 'The report or the summary could not be written on the runner.',
    remedy: 'Check `report-directory` and the disk of the runner, then run the phase again.',
    retryable: false,
  },
  cancelled: {
    when: 'The run was cancelled.',
    remedy: 'Run the phase again; it picks up where it was.',
    retryable: true,
  },
  'wait-timeout': {
    when: 'A job on the host is still running when the time of the phase is over.',
    remedy: 'Run the phase again: it adopts the running job.',
    retryable: true,
  },
  internal: {
    when: 'Something happened that the code did not expect.',
    remedy: 'Please report it with the report file; run the phase again.',
    retryable: false,
  },
} as const satisfies Record<string, ErrorCodeEntry>;

/** A code of the table. */
export type ErrorCode = keyof typeof ERROR_CODES;
