import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

/** One archive of the machine's own distribution, as its apt configuration names it. */
export type AptArchive = {
  /** Exactly as configured: `http://…`, `mirror+file:…` and so on. */
  readonly uri: string;
  /** Absolute paths of the key rings that verify it, or an armoured key written into the source itself. */
  readonly keyrings: readonly string[];
  readonly inlineKey?: string;
};

type SourceStanza = {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly signedBy: string;
};

/**
 * The archives that carry `codename` itself, the distribution's own first.
 * A third party may also call its suite by the codename, but it has no `<codename>-updates` beside it.
 */
export function findAptArchives(codename: string, etc = '/etc/apt'): readonly AptArchive[] {
  const stanzas = readSources(etc).filter((stanza) => stanza.components.includes('main'));
  const uris = new Set(stanzas.filter((s) => s.suites.includes(codename)).flatMap((s) => s.uris));
  const ranked = [...uris].map((uri) => {
    const own = stanzas.filter((stanza) => stanza.uris.includes(uri));
    const hasUpdates = own.some((stanza) => stanza.suites.includes(`${codename}-updates`));
    const signedBy = own.find((stanza) => stanza.suites.includes(codename))?.signedBy ?? '';
    return { hasUpdates, archive: { uri, ...readKeys(signedBy, etc) } };
  });
  return ranked.sort((a, b) => Number(b.hasUpdates) - Number(a.hasUpdates)).map((entry) => entry.archive);
}

function readSources(etc: string): SourceStanza[] {
  const parts = path.join(etc, 'sources.list.d');
  const files = existsSync(parts) ? readdirSync(parts).sort() : [];
  const list = path.join(etc, 'sources.list');
  const stanzas = existsSync(list) ? parseOneLineSources(readFileSync(list, 'utf8')) : [];
  for (const file of files) {
    const text = () => readFileSync(path.join(parts, file), 'utf8');
    if (file.endsWith('.list')) stanzas.push(...parseOneLineSources(text()));
    if (file.endsWith('.sources')) stanzas.push(...parseDeb822Sources(text()));
  }
  return stanzas;
}

/** sources.list(5), one-line style: `deb [ option=value … ] uri suite component …` */
export function parseOneLineSources(text: string): SourceStanza[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line);
    const [, options = '', uri, suite, components = ''] = match ?? [];
    if (uri === undefined || suite === undefined) return [];
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1] ?? '';
    return [
      {
        uris: [uri],
        suites: [suite],
        components: words(components),
        signedBy: signedBy.replaceAll(',', ' '),
      },
    ];
  });
}

/** sources.list(5), deb822 style: stanzas of `Field: value`, a value goes on in indented lines. */
export function parseDeb822Sources(text: string): SourceStanza[] {
  const withoutComments = text.replace(/^#.*\n?/gm, '');
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = new Map<string, string>();
    for (const [, name = '', value = ''] of stanza.matchAll(/^([\w-]+):((?:.*)(?:\n[ \t].*)*)/gm)) {
      fields.set(name.toLowerCase(), value.trim());
    }
    const list = (name: string) => words(fields.get(name) ?? '');
    if (!list('types').includes('deb') || fields.get('enabled')?.toLowerCase() === 'no') return [];
    const signedBy = fields.get('signed-by') ?? '';
    return [{ uris: list('uris'), suites: list('suites'), components: list('components'), signedBy }];
  });
}

/** `Signed-By` is a list of files or an armoured key; anything else leaves the machine's general key rings. */
function readKeys(signedBy: string, etc: string): Pick<AptArchive, 'keyrings' | 'inlineKey'> {
  if (signedBy.startsWith('-----BEGIN')) {
    const inlineKey = signedBy.replace(/^ \.$/gm, '').replace(/^ /gm, '');
    return { keyrings: [], inlineKey: `${inlineKey}\n` };
  }
  const files = words(signedBy.replaceAll(',', ' ')).filter((word) => word.startsWith('/'));
  return { keyrings: files.length > 0 ? files : generalKeyrings(etc) };
}

function generalKeyrings(etc: string): string[] {
  const parts = path.join(etc, 'trusted.gpg.d');
  const names = existsSync(parts) ? readdirSync(parts).sort() : [];
  const files = names.filter((name) => /\.(gpg|asc)$/.test(name)).map((name) => path.join(parts, name));
  return [path.join(etc, 'trusted.gpg'), ...files].filter(
    (file) => existsSync(file) && statSync(file).size > 0,
  );
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
