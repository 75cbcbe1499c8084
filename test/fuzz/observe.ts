import { createHash } from 'node:crypto';
import path from 'node:path';
import { CommandReader } from '../../src/agent/redis/command-reader.ts';
import { HeldBytes } from '../../src/agent/redis/held-bytes.ts';
import { RdbReader } from '../../src/agent/redis/rdb/reader.ts';
import { ReplyScanner } from '../../src/agent/redis/reply-scanner.ts';
import { isMigrationError } from '../../src/core/errors.ts';

/** What a reader made of an input: the things it found, each by its fingerprint, and how it ended. */
export type Observation = {
  readonly items: readonly string[];
  /** `whole`, `incomplete`, or the code of an error. */
  readonly ending: string;
  /** The largest buffer that it has had. */
  readonly windowBytes: number;
};

/** Looks at an input that comes in pieces. */
export type Observe = (pieces: readonly Buffer[]) => Observation;

/** An error that no damage may cause. */
export class Crash extends Error {}

type Findings = { items: string[]; windowBytes: number };

/** Reads an RDB; values beyond `wholeValueBytesMax` are taken out piece by piece. */
export function observeRdb(wholeValueBytesMax: number): Observe {
  return (pieces) =>
    observe((findings) => {
      const reader = new RdbReader({ wholeValueBytesMax });
      const reading = { reader, findings, large: undefined };
      for (const piece of pieces) {
        reader.push(piece);
        findings.windowBytes = Math.max(findings.windowBytes, reader.window.length);
        if (readItems(reading) === 'whole') return 'whole';
      }
      return 'incomplete';
    });
}

type Large = { head: string; hash: ReturnType<typeof createHash> };
type RdbReading = { reader: RdbReader; findings: Findings; large: Large | undefined };

function readItems(reading: RdbReading): 'whole' | 'incomplete' {
  const { reader, findings } = reading;
  for (;;) {
    if (reading.large !== undefined) {
      const { bytes, isLast } = reader.takeRaw();
      reading.large.hash.update(bytes);
      if (!isLast) return 'incomplete';
      findings.items.push(`${reading.large.head} ${reading.large.hash.digest('base64')}`);
      reading.large = undefined;
    }
    const item = reader.next();
    switch (item) {
      case 'need-more':
        return 'incomplete';
      case 'end':
        return 'whole';
      case 'key':
      case 'large': {
        const { db, type, expireAtMs, key } = reader;
        const head = `${db} ${type} ${expireAtMs} ${key.bytes.toString('latin1', key.start, key.end)}`;
        const hash = createHash('md5');
        if (item === 'large') {
          reading.large = { head, hash };
          break;
        }
        hash.update(reader.window.subarray(reader.valueStart, reader.valueEnd));
        findings.items.push(`${head} ${hash.digest('base64')}`);
        break;
      }
      case 'aux':
        findings.items.push(`aux ${reader.auxName} ${reader.text.toString('latin1')}`);
        break;
      case 'function':
        findings.items.push(`function ${reader.text.toString('latin1')}`);
        break;
      default:
        findings.items.push(`${item} ${reader.db} ${reader.databaseKeys}`);
    }
  }
}

/** Cuts a command stream into its commands; arguments beyond a few hundred bytes wait in the directory. */
export function observeCommands(directory: string): Observe {
  return (pieces) =>
    observe((findings) => {
      using reader = new CommandReader({
        hold: () => new HeldBytes(path.join(directory, 'held')),
        isTranslated: (name) => name.length % 2 === 1,
        heldArgumentBytesMin: 200,
        heldRestBytesMin: 400,
      });
      let pushed = 0;
      for (const piece of pieces) {
        reader.push(piece);
        pushed += piece.length;
        findings.windowBytes = Math.max(findings.windowBytes, reader.window.length);
        while (reader.next()) {
          findings.items.push(describeCommand(reader));
          if (reader.consumed > pushed) throw new Crash('more was consumed than there was');
        }
      }
      return reader.consumed === pushed ? 'whole' : 'incomplete';
    });
}

/** Of a command that is only passed on, the arguments may be known together only. */
function describeCommand(reader: CommandReader): string {
  const name = reader.argumentCount === 0 ? '' : reader.text(0);
  const isKnown = name.length % 2 === 1 || !reader.isHeld;
  const known = isKnown ? reader.argumentCount : 1;
  const args = Array.from({ length: known }, (_, index) => reader.argument(index).toString('latin1'));
  return `${reader.consumed} ${reader.argumentCount > 0 ? args.join('\n') : ''}`;
}

/** Counts replies; the bytes of a reply that is not complete cannot be told from none. */
export const observeReplies: Observe = (pieces) =>
  observe((findings) => {
    const scanner = new ReplyScanner(({ reply, element, text }) => {
      findings.items.push(`${reply} ${element?.index}/${element?.count} ${text}`);
    });
    for (const piece of pieces) {
      try {
        scanner.push(piece);
      } catch (error) {
        // It throws plain errors, to which its owner gives a code; anything else is a crash.
        if (!(error instanceof Error) || !error.message.startsWith('a reply ')) throw error;
        return 'no reply';
      }
    }
    findings.items.push(`count ${scanner.count}`);
    return 'whole';
  });

function observe(look: (findings: Findings) => string): Observation {
  const findings: Findings = { items: [], windowBytes: 0 };
  try {
    const ending = look(findings);
    return { ...findings, ending };
  } catch (error) {
    if (!isMigrationError(error)) throw new Crash(`${error}`, { cause: error });
    return { ...findings, ending: error.code };
  }
}
