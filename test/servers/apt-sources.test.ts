import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findAptArchives } from './apt-sources.ts';

describe('the archives of an apt configuration', () => {
  let etc = '';
  beforeEach(async () => {
    etc = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-etc-'));
    await mkdir(path.join(etc, 'sources.list.d'));
    await mkdir(path.join(etc, 'trusted.gpg.d'));
  });
  afterEach(() => rm(etc, { recursive: true }));

  const write = (file: string, text: string) => writeFile(path.join(etc, file), text);

  it('are read from deb822 stanzas, without comments and stanzas that are off', async () => {
    await write(
      'sources.list.d/own.sources',
      `# the distribution
Types: deb deb-src
URIs: http://mirror.test/debian
# Suites: nothing
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/one.gpg,
 /keys/two.gpg

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main
`,
    );
    expect(findAptArchives('bookworm', etc)).toEqual([
      { uri: 'http://mirror.test/debian', keyrings: ['/keys/one.gpg', '/keys/two.gpg'] },
    ]);
  });

  it('are read from one-line sources, and the distribution goes before a third party with its codename', async () => {
    await write('sources.list', '# deb http://off.test noble main\n');
    await write(
      'sources.list.d/a.list',
      'deb [arch=amd64 signed-by=/keys/vendor.gpg] https://vendor.test noble main # tools\n',
    );
    await write(
      'sources.list.d/b.list',
      'deb [signed-by=/keys/own.gpg] mirror+file:/etc/mirrors noble main universe\n' +
        'deb [signed-by=/keys/own.gpg] mirror+file:/etc/mirrors noble-updates main universe\n',
    );
    expect(findAptArchives('noble', etc)).toEqual([
      { uri: 'mirror+file:/etc/mirrors', keyrings: ['/keys/own.gpg'] },
      { uri: 'https://vendor.test', keyrings: ['/keys/vendor.gpg'] },
    ]);
  });

  it("are verified by the machine's general key rings where the source names none, leaving out empty ones", async () => {
    await write('sources.list', 'deb http://mirror.test/debian bookworm main\n');
    await write('trusted.gpg', '');
    await write('trusted.gpg.d/own.asc', 'key');
    await write('trusted.gpg.d/notes.txt', 'no key');
    const [archive] = findAptArchives('bookworm', etc);
    expect(archive?.keyrings).toEqual([path.join(etc, 'trusted.gpg.d/own.asc')]);
  });

  it('keep a key that is written into the source', async () => {
    await write(
      'sources.list.d/own.sources',
      'Types: deb\nURIs: http://mirror.test\nSuites: sid\nComponents: main\n' +
        'Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n bWFkZSB1cA==\n -----END PGP PUBLIC KEY BLOCK-----\n',
    );
    const [archive] = findAptArchives('sid', etc);
    expect(archive).toEqual({
      uri: 'http://mirror.test',
      keyrings: [],
      inlineKey: '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbWFkZSB1cA==\n-----END PGP PUBLIC KEY BLOCK-----\n',
    });
  });
});
