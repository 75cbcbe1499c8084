import { describe, expect, it } from 'vitest';
import {
  ANNOTATION_CHARACTERS_MAX,
  ANNOTATIONS_PER_LEVEL_MAX,
  annotationsOf,
} from '../../../src/action/summary/annotations.ts';
import type { PhaseView } from '../../../src/action/summary/views.ts';
import type { Finding } from '../../../src/contract/finding.ts';
import { HOSTILE_TEXTS } from './hostile-texts.ts';
import { preflightReport, SAMPLE_HEAD, SAMPLE_VIEWS, verifyReport } from './sample-views.ts';

describe('the annotations of a phase', () => {
  it('are none when it passed without anything to say', () => {
    const view: PhaseView = { ...SAMPLE_HEAD, phase: 'verify', report: verifyReport(0) };
    expect(annotationsOf(view)).toEqual([]);
  });

  it('hold the error with its remedy', () => {
    const [first] = annotationsOf(sample('cleanup-failed'));
    expect(first).toEqual({
      level: 'error',
      title: 'host-state-unwritable',
      message:
        '`/var/lib/valkey-migrate` cannot be written: EROFS. Change what the message names (here `route: replica`), then run the phase again.',
    });
  });

  it('make errors of failing findings and warnings of doubtful ones', () => {
    const levels = annotationsOf(sample('preflight-failed')).map(({ level, title }) => `${level}: ${title}`);
    expect(levels).toEqual([
      'error: route-native-rdb-version',
      'error: RDB version',
      'error: Memory of the target',
      'warning: Replica output buffer',
    ]);
  });

  it('hold the total of the differences and a few of them', () => {
    const found = annotationsOf(sample('verify-failed-many'));
    expect(found.map(({ title }) => title)).toEqual([
      'verification-different',
      'Source and target differ',
      'Difference: other value',
      'Difference: key at the source only',
      'Difference: other expiry time',
    ]);
    expect(found[1]?.message).toContain('1,000,000 differences in 200,123 keys');
  });

  it('are warnings when the differences are allowed', () => {
    const report = { ...verifyReport(2), passed: true, maxDifferences: 5 };
    const levels = annotationsOf({ ...SAMPLE_HEAD, phase: 'verify', report }).map(({ level }) => level);
    expect(levels).toEqual(['warning', 'warning', 'warning']);
  });

  it('name the new endpoint, and who still writes to the old one', () => {
    expect(annotationsOf(sample('complete-migration-passed'))).toEqual([
      {
        level: 'warning',
        title: 'Straggler',
        message:
          '10.0.4.17, user shop, name cart-api still writes to the source, last with hset, over 2 connections. The source refuses it: point it at the target.',
      },
      {
        level: 'notice',
        title: 'New primary endpoint',
        message: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
      },
    ]);
  });

  it('keep to the limits of GitHub, and the last of a level counts the rest', () => {
    const findings = Array.from({ length: 40 }, (_, index) => finding(index % 2 === 0 ? 'fail' : 'warn'));
    const view: PhaseView = {
      ...SAMPLE_HEAD,
      phase: 'preflight',
      warnings: HOSTILE_TEXTS,
      report: preflightReport(findings),
    };
    const annotations = annotationsOf(view);
    for (const level of ['error', 'warning'] as const) {
      const ofLevel = annotations.filter((annotation) => annotation.level === level);
      expect(ofLevel).toHaveLength(ANNOTATIONS_PER_LEVEL_MAX);
      expect(ofLevel.at(-1)?.title).toMatch(/^\d+ more$/u);
    }
    expect(Math.max(...annotations.map(({ message }) => message.length))).toBe(ANNOTATION_CHARACTERS_MAX);
  });

  it('are one visible line each, whatever they hold', () => {
    for (const text of HOSTILE_TEXTS) {
      const [annotation] = annotationsOf({ ...SAMPLE_HEAD, phase: 'cleanup', warnings: [text] });
      expect(annotation?.message).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }
  });
});

function sample(name: string): PhaseView {
  const view = SAMPLE_VIEWS[name];
  if (view === undefined) throw new Error(`no sample view ${name}`);
  return view;
}

function finding(status: Finding['status']): Finding {
  return { code: 'x', status, title: 'Check', detail: 'd'.repeat(10_000), remedy: 'r'.repeat(10_000) };
}
