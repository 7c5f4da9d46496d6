// What all browser tests share: the service (the mock, or a real one named by REELVAULT_URL), the browser, and what it asked for.
import { createServer } from 'node:net';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { startMock } from '../../mock/server.mjs';
import { PASSWORD } from '../../mock/people.mjs';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const ARTEFACTS = process.env.REELVAULT_ARTEFACTS ?? join(ROOT, 'out/screenshots');
const env = (name, otherwise) => process.env[`REELVAULT_${name}`] ?? otherwise;

// The real service is asked for only where it is named; what it must hold is told in the README.
export const REAL = env('URL', '') !== '';
export const names = {
  user: env('USER', 'ada'), password: env('PASSWORD', PASSWORD),
  viewer: env('VIEWER', REAL ? '' : 'vera'), viewerPassword: env('VIEWER_PASSWORD', PASSWORD),
  site: env('SITE', 'shop.example'), session: env('SESSION', 's-02a842a260dfbe39'), erase: env('ERASE_SESSION', 's-fce73c7f8d18d135'), hold: env('HOLD_SESSION', 's-da4b64002d81777b'),
  chatSite: env('CHAT_SITE', 'help.example'), chatSession: env('CHAT_SESSION', 's-1a704af59843f0b3'),
  canvasSite: env('CANVAS_SITE', 'dash.example'), canvasSession: env('CANVAS_SESSION', 's-5431c0a3f95f08af'),
  hostileChat: env('HOSTILE_CHAT', REAL ? 'c-hostile-chat' : 'c-hostile'),
  hostileSite: env('HOSTILE_SITE', REAL ? '' : 'hostile.example'), manySite: env('MANY_SITE', REAL ? '' : 'many.example'), link: env('LINK', REAL ? '' : 'test-link'), issuer: env('ISSUER', ''),
};

/** An address of another origin that counts who calls. */
export async function startOutside() {
  const calls = [];
  const server = createServer((socket) => {
    calls.push('a connection');
    socket.on('data', (d) => calls.push(String(d).split('\r\n')[0]));
    socket.on('error', () => {});
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}`, calls, close: () => new Promise((done) => server.close(done)) };
}

export async function startService() {
  const outside = await startOutside();
  if (REAL) return { url: env('URL').replace(/\/$/, ''), outside, world: null, close: outside.close };
  if (!existsSync(join(ROOT, 'dist/index.html'))) throw new Error('build the page first: npm run build');
  const mock = await startMock({ outside: outside.url, links: [names.link, 'used-link'] });
  return { url: mock.url, world: mock.world, outside, close: async () => { await mock.close(); await outside.close(); } };
}

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({
    executablePath, headless: true, timeout: 60_000,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  });
}

/** Whether a frame within a page asks for it. Of a page that is not there yet there is no frame to ask about. */
function isFramed(request) {
  try { return request.isNavigationRequest() && request.frame().parentFrame() !== null; } catch { return false; }
}

/** A browser context of its own, which notes every request, every script error, every request that left the origin, and what a page loaded that is for calls. */
export async function visit(browser, url, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, acceptDownloads: true, permissions: ['clipboard-read', 'clipboard-write'], ...options });
  const page = await context.newPage();
  const seen = { requests: [], left: [], loaded: [], errors: [] };
  context.on('request', (r) => {
    seen.requests.push(`${r.method()} ${r.url()}`);
    if (!/^(data|blob|about):/.test(r.url()) && new URL(r.url()).origin !== new URL(url).origin) seen.left.push(r.url());
    // What the service answers to calls alone, asked for as a part of a page.
    if (/^\/v1(\/|$)/.test(new URL(r.url()).pathname) && (!['fetch', 'xhr', 'document'].includes(r.resourceType()) || isFramed(r))) seen.loaded.push(`${r.resourceType()} ${r.url()}`);
  });
  page.on('pageerror', (e) => seen.errors.push(e.stack ?? e.message));
  return { context, page, seen, url };
}

export async function signIn({ page, url }, user = names.user, password = names.password, hash = '') {
  await page.goto(`${url}/${hash}`);
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation').waitFor();
}

export const sessionHash = (site, session, t) => `#/s/${encodeURIComponent(site)}/${encodeURIComponent(session)}${t === undefined ? '' : `?t=${t}`}`;

/** The frame in which the recorded page is shown. */
export async function replayFrame(page) {
  const element = await page.waitForSelector('.replayer-wrapper iframe');
  return (await element.contentFrame()) ?? null;
}

/** The text of the recorded page as it is shown now. The frame runs no scripts, so it is read from outside. */
export const replayText = (page) => page.evaluate(() => document.querySelector('.replayer-wrapper iframe')?.contentDocument?.body?.innerText ?? '');

export async function until(what, test, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (Date.now() > end) throw new Error(`did not come to pass: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export async function shot(page, name) {
  mkdirSync(ARTEFACTS, { recursive: true });
  await page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
}
