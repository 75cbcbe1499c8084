import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { type Inputs, PHASES, parseInputs } from '../../src/action/inputs.ts';
import { OUTPUT_NAMES } from '../../src/action/outputs.ts';

const actionYml = z
  .object({
    inputs: z.record(z.string(), z.object({ default: z.coerce.string().optional() })),
    outputs: z.record(z.string(), z.unknown()),
  })
  .parse(parse(readFileSync(new URL('../../action.yml', import.meta.url), 'utf8')));

const GIVEN: Record<string, string> = {
  'replication-group-id': 'sessions',
  'instance-id': 'i-0123456789abcdef0',
};
const RUNNER = { region: 'eu-central-1', temporaryDirectory: '/tmp/runner' };

/** Parses as on the runner: inputs that are not given have the defaults of action.yml. */
function parsed(inputs: Record<string, string>, onRead?: (name: string) => void): Inputs {
  const read = (name: string) => {
    onRead?.(name);
    return inputs[name] ?? GIVEN[name] ?? actionYml.inputs[name]?.default ?? '';
  };
  return parseInputs(read, RUNNER);
}

describe('inputs', () => {
  it('are those of action.yml: none unknown, none unread', () => {
    const asked = new Set<string>();
    for (const phase of PHASES) parsed({ phase }, (name) => asked.add(name));
    expect([...asked].sort()).toEqual(Object.keys(actionYml.inputs).sort());
  });

  it('have working defaults in every phase', () => {
    for (const phase of PHASES) {
      expect(parsed({ phase })).toMatchObject({
        phase,
        migrationId: 'sessions',
        region: 'eu-central-1',
        host: { kind: 'ssm', instanceId: 'i-0123456789abcdef0' },
        reportDirectory: '/tmp/runner/valkey-migrate',
      });
    }
  });

  it('carry what is given, typed and in its units', () => {
    expect(
      parsed({
        phase: 'complete-migration',
        'source-endpoint': '[::1]:7000',
        'source-tls': 'true',
        'source-ca-file': '/etc/ca.pem',
        'source-password-from': 'secretsmanager:redis#password',
        'max-write-pause-seconds': '5',
        'verification-max-age-minutes': '60',
      }),
    ).toMatchObject({
      source: {
        host: '::1',
        port: 7000,
        tls: true,
        caFile: '/etc/ca.pem',
        password: { from: 'secretsmanager', name: 'redis', field: 'password', region: 'eu-central-1' },
      },
      maxWritePauseMs: 5000,
      maxVerificationAgeMs: 3_600_000,
    });
  });

  it.each([
    ['50MB', 50_000_000],
    ['20 MiB', 20 * 1024 * 1024],
    ['1.5gb', 1_500_000_000],
    ['1000000', 1_000_000],
  ])('read the load %s as %i bytes', (text, bytes) => {
    const limits = { 'max-source-load': text, 'max-target-ops': '5000', 'tune-source': 'true' };
    expect(parsed({ phase: 'start-migration', ...limits })).toMatchObject({
      tuneSource: true,
      sourceBytesPerSecondMax: bytes,
      targetCommandsPerSecondMax: 5000,
    });
    expect(parsed({ phase: 'start-migration' })).not.toHaveProperty('sourceBytesPerSecondMax');
  });

  it.each([
    [{ phase: '' }, 'input-missing', '`phase`'],
    [{ phase: 'Preflight' }, 'input-unknown-phase', '"Preflight"'],
    [{ phase: 'status', 'replication-group-id': 'a--b' }, 'input-malformed', '`replication-group-id`'],
    [{ phase: 'status', 'replication-group-id': '$(reboot)' }, 'input-malformed', '`replication-group-id`'],
    [{ phase: 'status', 'migration-id': '../../etc' }, 'input-malformed', '`migration-id`'],
    [{ phase: 'status', 'instance-id': 'i-123' }, 'input-malformed', '`instance-id`'],
    [{ phase: 'status', 'aws-region': 'Frankfurt' }, 'input-malformed', '`aws-region`'],
    [{ phase: 'status', host: 'ec2' }, 'input-malformed', '`host`'],
    [{ phase: 'status', 'state-directory': 'relative' }, 'input-malformed', '`state-directory`'],
    [{ phase: 'status', 'state-directory': '/var/../etc' }, 'input-malformed', '`state-directory`'],
    [{ phase: 'status', 'wait-timeout-minutes': '0' }, 'input-malformed', '`wait-timeout-minutes`'],
    [{ phase: 'verify', 'max-differences': '-1' }, 'input-malformed', '`max-differences`'],
    [{ phase: 'verify', 'max-differences': '1e3' }, 'input-malformed', '`max-differences`'],
    [{ phase: 'verify', 'key-display': 'yes' }, 'input-malformed', '`key-display`'],
    [{ phase: 'verify', 'source-endpoint': 'redis://host:1' }, 'input-malformed', '`source-endpoint`'],
    [{ phase: 'verify', 'source-endpoint': 'host:99999' }, 'input-malformed', '`source-endpoint`'],
    [{ phase: 'verify', 'source-tls': 'yes' }, 'input-malformed', '`source-tls`'],
    [{ phase: 'verify', 'source-ca-file': '/ca.pem' }, 'input-contradictory', '`source-ca-file`'],
    [
      { phase: 'backup', 'backup-source': 'false', 'snapshot-target': 'false' },
      'input-contradictory',
      'back up',
    ],
    [{ phase: 'preflight', route: 'native', 'tune-source': 'true' }, 'input-contradictory', '`tune-source`'],
    [
      { phase: 'start-migration', route: 'native', 'max-target-ops': '100' },
      'input-contradictory',
      '`max-target-ops`',
    ],
    [{ phase: 'preflight', 'tune-source': 'yes' }, 'input-malformed', '`tune-source`'],
    [{ phase: 'preflight', 'max-source-load': '50 apples' }, 'input-malformed', '`max-source-load`'],
    [{ phase: 'preflight', 'max-source-load': '999KB' }, 'input-malformed', '`max-source-load`'],
    [{ phase: 'start-migration', 'max-source-load': '-1MB' }, 'input-malformed', '`max-source-load`'],
    [{ phase: 'start-migration', 'max-target-ops': '99' }, 'input-malformed', '`max-target-ops`'],
    [{ phase: 'start-migration', 'max-target-ops': '1e6' }, 'input-malformed', '`max-target-ops`'],
    [{ phase: 'status', host: 'local' }, 'input-contradictory', '`instance-id`'],
    [{ phase: 'status', direction: 'back' }, 'input-malformed', '`direction`'],
    [{ phase: 'preflight', direction: 'reverse' }, 'input-contradictory', '`direction`'],
    [{ phase: 'cleanup', direction: 'reverse' }, 'input-contradictory', '`direction`'],
    [{ phase: 'status', 'migration-id': 'shop-reverse' }, 'input-malformed', '`migration-id`'],
    [
      { phase: 'start-migration', reverse: 'true', 'migration-id': 'm'.repeat(57) },
      'input-malformed',
      '`migration-id`',
    ],
    [
      { phase: 'preflight', route: 'replica', 'allow-native-rdb-version': 'true' },
      'input-contradictory',
      '`route`',
    ],
    [
      { phase: 'preflight', route: 'replica', 'native-source-address': '10.0.0.1' },
      'input-contradictory',
      '`route`',
    ],
  ])('%o is refused with %s and names %s', (inputs, code, named) => {
    expect(() => parsed(inputs)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(named) }),
    );
  });

  it('name the way back by the migration that it goes back over', () => {
    const back = parsed({ phase: 'complete-migration', direction: 'reverse', reverse: 'true' });
    expect(back).toMatchObject({ migrationId: 'sessions-reverse', isWayBack: true, reverse: false });
    const forward = parsed({ phase: 'complete-migration', reverse: 'true' });
    expect(forward).toMatchObject({ migrationId: 'sessions', isWayBack: false, reverse: true });
  });

  it('never repeat what may be a password', () => {
    const refusal = () => parsed({ phase: 'verify', 'source-password-from': 'hunter2' });
    expect(refusal).toThrow(
      expect.objectContaining({ code: 'input-malformed', message: expect.not.stringContaining('hunter2') }),
    );
  });
});

describe('outputs', () => {
  it('are those of action.yml', () => {
    expect([...OUTPUT_NAMES].sort()).toEqual(Object.keys(actionYml.outputs).sort());
  });
});
