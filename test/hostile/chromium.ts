import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
/** A page that is not there by then will not come. */
const ANSWER_MS = 60_000;

/** What a page did while it was shown. */
export type Deeds = {
  /** Scripts that ran, by where they stand; handlers of events are scripts too. */
  readonly scripts: readonly string[];
  /** Everything that was asked for beside the page itself. */
  readonly requests: readonly string[];
  /** Dialogs and windows. */
  readonly openings: readonly string[];
};

/** A browser without a window and without a network. */
export type Browser = AsyncDisposable & {
  readonly version: string;
  /** Shows a page of HTML, then says what an expression is in it, and what the page did. */
  show(html: string, expression: string): Promise<{ value: unknown; deeds: Deeds; png: Buffer }>;
};

/** The program of a browser on this machine; undefined where there is none. */
export function findChromium(): string | undefined {
  const named = process.env.CHROMIUM;
  return [...(named === undefined ? [] : [named]), ...NAMES].find(
    (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
  );
}

/** Starts a browser; it ends with what is returned. */
export async function startChromium(program: string): Promise<Browser> {
  await using opening = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'chromium-'));
  opening.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  const child = spawn(program, [...OPTIONS, `--user-data-dir=${directory}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
  opening.defer(() => ended(child));
  const protocol = speak(child.stdio[3] as Writable, child.stdio[4] as Readable);
  const { product } = z.object({ product: z.string() }).parse(await protocol.call('Browser.getVersion'));
  const owned = opening.move();
  let pages = 0;
  return {
    version: product,
    show: async (html, expression) => {
      pages += 1;
      const file = join(directory, `page-${pages}.html`);
      await writeFile(file, html);
      return showPage(protocol, pathToFileURL(file).href, expression);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const OPTIONS = [
  '--headless',
  // Inside a container there is often nothing that the sandbox could be made of; the pages are ours.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--no-first-run',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
  // What a page asks for is seen, and gets nowhere.
  '--host-resolver-rules=MAP * ~NOTFOUND',
];

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise((resolve) => {
    child.once('exit', resolve);
    child.kill('SIGKILL');
  });
}

type Message = { method: string; params: unknown; sessionId?: string | undefined };
type Protocol = {
  call(method: string, params?: object, sessionId?: string): Promise<unknown>;
  /** Hears the events of a session until it is told to stop. */
  hear(sessionId: string, heard: (message: Message) => void): () => void;
};

const messageSchema = z.object({
  id: z.number().optional(),
  method: z.string().optional(),
  params: z.unknown().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
  sessionId: z.string().optional(),
});

/** The DevTools protocol over two pipes: JSON with a NUL after each message. */
function speak(input: Writable, output: Readable): Protocol {
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  const listeners = new Map<string, (message: Message) => void>();
  let rest = '';
  let calls = 0;
  output.setEncoding('utf8');
  output.on('data', (text: string) => {
    const parts = `${rest}${text}`.split('\0');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const { id, method, params, result, error, sessionId } = messageSchema.parse(JSON.parse(part));
      if (method !== undefined) listeners.get(sessionId ?? '')?.({ method, params, sessionId });
      if (id === undefined) continue;
      if (error === undefined) waiting.get(id)?.resolve(result);
      else waiting.get(id)?.reject(new Error(`The browser refuses: ${error.message}`));
      waiting.delete(id);
    }
  });
  output.on('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('The browser has ended.'));
  });
  return {
    call: (method, params = {}, sessionId) => {
      calls += 1;
      const id = calls;
      input.write(`${JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) })}\0`);
      return within(
        new Promise((resolve, reject) => waiting.set(id, { resolve, reject })),
        `The browser did not answer to ${method}.`,
      );
    },
    hear: (sessionId, heard) => {
      listeners.set(sessionId, heard);
      return () => listeners.delete(sessionId);
    },
  };
}

async function within<Value>(promise: Promise<Value>, otherwise: string): Promise<Value> {
  const timeout = AbortSignal.timeout(ANSWER_MS);
  const late = new Promise<never>((_, reject) => {
    timeout.addEventListener('abort', () => reject(new Error(otherwise)));
  });
  return Promise.race([promise, late]);
}

const targetSchema = z.object({ targetId: z.string() });
const sessionSchema = z.object({ sessionId: z.string() });
const eventSchema = z.object({
  url: z.string().optional(),
  message: z.string().optional(),
  request: z.object({ url: z.string() }).optional(),
});
const evaluatedSchema = z.object({
  result: z.object({ value: z.unknown().optional() }),
  exceptionDetails: z.object({ text: z.string() }).optional(),
});

async function showPage(protocol: Protocol, url: string, expression: string) {
  const { targetId } = targetSchema.parse(await protocol.call('Target.createTarget', { url: 'about:blank' }));
  const attached = await protocol.call('Target.attachToTarget', { targetId, flatten: true });
  const { sessionId } = sessionSchema.parse(attached);
  const call = (method: string, params?: object) => protocol.call(method, params, sessionId);
  const scripts: string[] = [];
  const requests: string[] = [];
  const openings: string[] = [];
  let onLoad = () => {};
  const loaded = new Promise<void>((resolve) => {
    onLoad = resolve;
  });
  const stop = protocol.hear(sessionId, ({ method, params }) => {
    const event = eventSchema.safeParse(params).data ?? {};
    if (method === 'Page.loadEventFired') onLoad();
    // What is asked of the page from here has no address.
    if (method === 'Debugger.scriptParsed' && event.url !== '') scripts.push(event.url ?? '');
    if (method === 'Network.requestWillBeSent' && event.request?.url !== url)
      requests.push(event.request?.url ?? '');
    if (method === 'Page.windowOpen') openings.push(`window ${event.url}`);
    if (method === 'Page.javascriptDialogOpening') {
      openings.push(`dialog ${event.message}`);
      void call('Page.handleJavaScriptDialog', { accept: true });
    }
  });
  for (const domain of ['Page', 'Network', 'Debugger']) await call(`${domain}.enable`);
  await call('Emulation.setDeviceMetricsOverride', {
    width: 1012,
    height: 1200,
    deviceScaleFactor: 1,
    mobile: false,
  });
  await call('Page.navigate', { url });
  await within(loaded, `The browser did not load ${url}.`);
  const evaluated = await call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
  const { result, exceptionDetails } = evaluatedSchema.parse(evaluated);
  if (exceptionDetails !== undefined)
    throw new Error(`The page is not as expected: ${exceptionDetails.text}`);
  const shot = z.object({ data: z.string() }).parse(await call('Page.captureScreenshot', { format: 'png' }));
  stop();
  await protocol.call('Target.closeTarget', { targetId });
  const deeds: Deeds = { scripts, requests, openings };
  return { value: result.value, deeds, png: Buffer.from(shot.data, 'base64') };
}
