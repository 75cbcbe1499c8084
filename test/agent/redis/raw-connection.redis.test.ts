import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Access } from '../../../src/agent/redis/access.ts';
import { encodeCommands, openRawConnection } from '../../../src/agent/redis/raw-connection.ts';
import { ErrorReply } from '../../../src/agent/redis/reply-parser.ts';
import { Secret } from '../../../src/core/secret.ts';
import { startServer, targetServer } from '../../servers/start.ts';
import { createTlsFiles } from '../../servers/tls.ts';
import { accessTo } from '../verify/verify-pair.ts';

const signal = new AbortController().signal;

describe('a raw connection', () => {
  it('answers a batch in order, errors and any bytes among the replies', async () => {
    await using server = await startServer({ server: await targetServer() });
    await using connection = await openRawConnection(accessTo('source', server), { signal });
    const key = Buffer.from([0, 13, 10, 255]);
    const replies = await connection.send([
      ['SET', key, 'größe'],
      ['GET', key],
      ['LPUSH', key, 1],
      ['STRLEN', key],
      ['GET', 'none'],
      ['MGET', key, 'none'],
    ]);
    expect(replies).toEqual([
      'OK',
      Buffer.from('größe'),
      new ErrorReply('WRONGTYPE Operation against a key holding the wrong kind of value'),
      7,
      null,
      [Buffer.from('größe'), null],
    ]);
  });

  it('answers overlapping batches each with its own replies', async () => {
    await using server = await startServer({ server: await targetServer() });
    await using connection = await openRawConnection(accessTo('source', server), { signal });
    const batches = Array.from({ length: 50 }, (_, index) =>
      connection.send([
        ['SET', `k${index}`, index],
        ['GET', `k${index}`],
      ]),
    );
    const answers = await Promise.all(batches);
    expect(answers).toEqual(batches.map((_, index) => ['OK', Buffer.from(String(index))]));
    expect(await connection.send([])).toEqual([]);
  });

  it('takes values of many megabytes both ways', async () => {
    await using server = await startServer({ server: await targetServer() });
    await using connection = await openRawConnection(accessTo('source', server), { signal });
    const value = Buffer.alloc(20 * 1024 * 1024, 'valkey');
    const [, read] = await connection.send([
      ['SET', 'big', value],
      ['GET', 'big'],
    ]);
    expect(Buffer.isBuffer(read) && read.equals(value)).toBe(true);
    expect(connection.bytesRead()).toBeGreaterThan(value.length);
  });

  it('begins in the database it is asked for', async () => {
    await using server = await startServer({ server: await targetServer() });
    await server.client(3).set('a', 'b');
    await using connection = await openRawConnection(accessTo('source', server), { db: 3, signal });
    expect(await connection.send([['GET', 'a']])).toEqual([Buffer.from('b')]);
    await expect(openRawConnection(accessTo('source', server), { db: 99, signal })).rejects.toMatchObject({
      code: 'source-protocol-error',
    });
  });

  it('authenticates with a password alone or with a user, and names a refusal', async () => {
    await using server = await startServer({
      server: await targetServer(),
      config: { requirepass: 'secret' },
    });
    await server.client().call('ACL', 'SETUSER', 'reader', 'on', '>word', '~*', '+@all');
    const as = (username: string | undefined, password: string | undefined): Access => ({
      ...accessTo('target', server),
      username,
      password: password === undefined ? undefined : new Secret(password),
    });
    for (const access of [as(undefined, 'secret'), as('reader', 'word')]) {
      await using connection = await openRawConnection(access, { signal });
      expect(await connection.send([['PING']])).toEqual(['PONG']);
    }
    for (const access of [as(undefined, 'wrong'), as('reader', 'secret'), as(undefined, undefined)]) {
      await expect(openRawConnection(access, { signal })).rejects.toMatchObject({
        code: 'target-auth-failed',
      });
    }
  });

  it('speaks TLS, and refuses a certificate that it does not trust', async () => {
    await using files = await createTlsFiles();
    await using server = await startServer({ server: await targetServer(), tls: files });
    const port = server.tlsPort ?? 0;
    const access = {
      ...accessTo('target', { host: server.host, port }),
      tls: { ca: await readFile(files.ca) },
    };
    await using connection = await openRawConnection(access, { signal });
    expect(await connection.send([['PING']])).toEqual(['PONG']);
    await expect(openRawConnection({ ...access, tls: {} }, { signal })).rejects.toMatchObject({
      code: 'target-tls-failed',
    });
  });

  it('fails what is under way and what comes later when the server goes', async () => {
    await using server = await startServer({ server: await targetServer() });
    await using connection = await openRawConnection(accessTo('source', server), { signal });
    const waiting = expect(connection.send([['BLPOP', 'none', 0]])).rejects.toMatchObject({
      code: 'source-unreachable',
    });
    await server.stop('SIGKILL');
    await waiting;
    await expect(connection.send([['PING']])).rejects.toMatchObject({ code: 'source-unreachable' });
  });

  it('ends with its signal, and gives its reason', async () => {
    await using server = await startServer({ server: await targetServer() });
    const stop = new AbortController();
    await using connection = await openRawConnection(accessTo('source', server), { signal: stop.signal });
    const waiting = expect(connection.send([['BLPOP', 'none', 0]])).rejects.toThrow('enough');
    stop.abort(new Error('enough'));
    await waiting;
  });

  it('names an answer that is no reply', async () => {
    const stranger = net.createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    const address = stranger.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await expect(
      openRawConnection(accessTo('source', { host: '127.0.0.1', port }), { signal }),
    ).rejects.toMatchObject({ code: 'source-protocol-error', message: expect.stringContaining('byte 0x48') });
    stranger.close();
  });
});

describe('encoded commands', () => {
  it('count bytes, not characters', () => {
    const wire = encodeCommands([
      ['SET', 'ö', Buffer.from([255])],
      ['GETRANGE', 'k', 0, -1],
    ]);
    const expected = '*3\r\n$3\r\nSET\r\n$2\r\nö\r\n$1\r\n';
    const rest = '\r\n*4\r\n$8\r\nGETRANGE\r\n$1\r\nk\r\n$1\r\n0\r\n$2\r\n-1\r\n';
    expect(wire).toEqual(Buffer.concat([Buffer.from(expected), Buffer.from([255]), Buffer.from(rest)]));
  });
});
