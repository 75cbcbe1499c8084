import { describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../src/core/error-codes.ts';
import { fromErrorRecord, MigrationError, toErrorRecord, toMigrationError } from '../../src/core/errors.ts';

describe('MigrationError', () => {
  it('falls back on the remedy of its code, and takes a better one', () => {
    expect(new MigrationError('job-dead', 'gone').remedy).toBe(ERROR_CODES['job-dead'].remedy);
    expect(new MigrationError('job-dead', 'gone', { remedy: 'look' }).remedy).toBe('look');
  });

  it('crosses a border and comes back the same, without its cause', () => {
    const error = new MigrationError('source-unreachable', 'no way', { cause: new Error('secret detail') });
    const record = toErrorRecord(error);
    expect(Object.keys(record).sort()).toEqual(['code', 'message', 'remedy', 'retryable']);
    expect(toErrorRecord(fromErrorRecord(JSON.parse(JSON.stringify(record))))).toEqual(record);
  });

  it('is known by its shape, as the class of the other bundle is another one', () => {
    const foreign = Object.assign(new Error('from the other bundle'), {
      name: 'MigrationError',
      code: 'job-stopped',
      remedy: 'again',
      retryable: true,
    });
    expect(toMigrationError(foreign)).toBe(foreign);
  });

  it.each([new TypeError('broken'), 'a thrown string', undefined, { code: 'job-dead' }])(
    'turns anything else that is thrown (%s) into an internal error',
    (thrown) => {
      expect(toMigrationError(thrown)).toMatchObject({ code: 'internal', retryable: false });
    },
  );

  it('has a remedy of a sentence for every code', () => {
    for (const [code, { when, remedy }] of Object.entries(ERROR_CODES)) {
      expect({ code, isSentence: /^[A-Z`].{10,}[.?]$/s.test(remedy) && /\.$/.test(when) }).toEqual({
        code,
        isSentence: true,
      });
    }
  });
});
