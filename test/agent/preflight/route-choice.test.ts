import { describe, expect, it } from 'vitest';
import { chooseRoute } from '../../../src/agent/preflight/route-choice.ts';
import { block, pass, warn } from '../../../src/agent/preflight/ruling.ts';

const said = { title: 'Thing', detail: 'It is so.' };
const againstNative = block('route-native-auth', { ...said, routes: ['native'] });
const againstReplica = block('route-replica-denied', { ...said, routes: ['replica'] });
const againstScan = block('notifications-missing', { ...said, routes: ['scan'] });
const againstAll = block('source-cluster-unsupported', said);

describe('the choice of the route', () => {
  it('prefers native when nothing rules it out', () => {
    const { route, verdicts } = chooseRoute([pass('x', said)], 'auto');
    expect(route).toBe('native');
    expect(verdicts.every(({ usable }) => usable)).toBe(true);
  });

  it('takes replica when native is ruled out, which is a reason and no failure', () => {
    const { route, verdicts, findings } = chooseRoute([againstNative], 'auto');
    expect(route).toBe('replica');
    expect(findings).toEqual([]);
    expect(verdicts[0]).toEqual({ route: 'native', usable: false, reasons: ['Thing: It is so.'] });
  });

  it('takes scan when neither of the others serves', () => {
    const { route, findings } = chooseRoute([againstNative, againstReplica], 'auto');
    expect({ route, findings }).toEqual({ route: 'scan', findings: [] });
  });

  it('fails with the code of what rules the asked route out', () => {
    const { route, findings } = chooseRoute([againstNative], 'native');
    expect(route).toBeUndefined();
    expect(findings).toMatchObject([{ code: 'route-native-auth', status: 'fail' }]);
  });

  it('leaves the asked route alone when the other one is ruled out', () => {
    expect(chooseRoute([againstNative], 'replica')).toMatchObject({ route: 'replica', findings: [] });
    expect(chooseRoute([againstReplica], 'native')).toMatchObject({ route: 'native', findings: [] });
  });

  it('fails with what rules every route out, whatever was asked', () => {
    for (const asked of ['auto', 'native', 'replica', 'scan'] as const) {
      const { route, findings } = chooseRoute([againstAll], asked);
      expect(route).toBeUndefined();
      expect(findings).toMatchObject([{ code: 'source-cluster-unsupported', status: 'fail' }]);
    }
  });

  it('says that no route is left when each is ruled out for a reason of its own', () => {
    const { route, findings } = chooseRoute([againstNative, againstReplica, againstScan], 'auto');
    expect(route).toBeUndefined();
    expect(findings).toMatchObject([
      { code: 'route-none', status: 'fail', detail: expect.stringMatching(/native: .*replica: .*scan: /) },
    ]);
  });

  it('keeps passes and warnings as they are', () => {
    const { findings } = chooseRoute([pass('p', said), warn('w', { ...said, remedy: 'Look.' })], 'auto');
    expect(findings).toEqual([
      { code: 'p', status: 'pass', ...said, remedy: '' },
      { code: 'w', status: 'warn', ...said, remedy: 'Look.' },
    ]);
  });
});
