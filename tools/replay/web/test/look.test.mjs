import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTEFACTS, REAL, ROOT, launch, names, sessionHash, shot, signIn, startService, until, visit } from './lib/harness.mjs';

let service; let browser;
before(async () => { service = await startService(); browser = await launch(); });
after(async () => { await browser?.close(); await service?.close(); process.stdout.write(`# screenshots: ${ARTEFACTS}\n`); });

const VIEWS = [
  ['list', () => `#/s/${names.site}`, '[role=row][id]'],
  ['player', () => sessionHash(names.site, names.session, 20_000), '.replayer-wrapper iframe'],
  ['chat', () => sessionHash(names.chatSite, `${names.chatSession}-chat`), '.text'],
  ['audit', () => `#/s/${names.site}/audit`, 'tbody tr'],
  ['status', () => '#/status', 'article, .check'],
];

// Whether text can be read: the contrast of every visible text with what lies behind it, by WCAG.
function contrasts() {
  const parse = (c) => {
    const m = /^color\(srgb ([\d.]+) ([\d.]+) ([\d.]+)(?: \/ ([\d.]+))?\)/.exec(c);
    if (m) return [m[1] * 255, m[2] * 255, m[3] * 255, m[4] ?? 1].map(Number);
    const n = c.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (el) => {
    const layers = [];
    for (let e = el; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((under, c) => over(c, under), [255, 255, 255, 1]);
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, 4);
  while (walk.nextNode()) {
    const el = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !el.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || el.closest('.replayer-wrapper, .hidden, :disabled, noscript, script, style, option, .later')) continue;
    const style = getComputedStyle(el);
    const back = behind(el);
    const [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${walk.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}

for (const colorScheme of ['light', 'dark']) {
  for (const width of [400, 1280]) {
    test(`every view fits ${width} px and can be read, ${colorScheme}`, async () => {
      const v = await visit(browser, service.url, { colorScheme, viewport: { width, height: 820 }, reducedMotion: 'reduce' });
      await signIn(v);
      await v.page.goto(`${service.url}/${sessionHash(names.site, names.session)}`);
      await v.page.locator('.replayer-wrapper').waitFor();
      for (const [name, hash, ready] of VIEWS) {
        await v.page.goto('about:blank');
        await v.page.goto(`${service.url}/${hash()}`);
        await v.page.locator(ready).first().waitFor();
        await v.page.waitForTimeout(700);
        await shot(v.page, `${name}-${colorScheme}-${width}`);
        const wide = await v.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${name} is ${wide} px too wide`);
        assert.deepEqual(await v.page.evaluate(contrasts), [], `${name}: text without contrast`);
        const nameless = await v.page.evaluate(() => [...document.querySelectorAll('button, a[href], input, select, [role=slider], iframe')]
          .filter((e) => !e.closest('.replayer-wrapper') || e.tagName === 'IFRAME')
          .filter((e) => e.checkVisibility() && !(e.getAttribute('aria-label') || e.textContent.trim() || e.title || e.labels?.length)).map((e) => e.outerHTML.slice(0, 120)));
        assert.deepEqual(nameless, [], `${name}: elements without a name`);
      }
      const dark = await v.page.evaluate(() => { const c = getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g).map(Number); return c[0] < 60; });
      assert.equal(dark, colorScheme === 'dark');
      assert.deepEqual(v.seen.errors, []);
      assert.deepEqual(v.seen.left, []);
      await v.context.close();
    });
  }
}

test('the theme is chosen, and remembered', async () => {
  const v = await visit(browser, service.url, { colorScheme: 'light' });
  await signIn(v);
  await v.page.getByRole('button', { name: 'Theme: as the system' }).click();
  await v.page.getByRole('button', { name: 'Theme: light' }).click();
  await v.page.reload();
  await v.page.getByRole('button', { name: 'Theme: dark' }).waitFor();
  assert.equal(await v.page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await v.context.close();
});

test('the status is shown without signing in', async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(`${service.url}/#/status`);
  await v.page.getByRole('heading', { name: 'Incidents' }).waitFor();
  await v.page.getByText(/The last \d+ days/).waitFor();
  assert.equal(await v.page.locator('.days i').count(), 60);
  if (!REAL) await v.page.getByText('The newest snapshot is older than 24 hours.').waitFor();
  await v.context.close();
});

test('the page says so when the service cannot be reached, and goes on when it can', async () => {
  const v = await visit(browser, service.url);
  await signIn(v);
  await v.page.getByRole('grid').waitFor();
  await v.context.setOffline(true);
  await v.page.keyboard.press('r');
  await v.page.getByRole('heading', { name: 'The service cannot be reached' }).waitFor();
  await shot(v.page, 'unreachable');
  await v.context.setOffline(false);
  await v.page.getByRole('button', { name: 'Try again' }).click();
  await until('the list is back', async () => (await v.page.locator('[role=row][id]').count()) > 0);
  await v.context.close();
});

test('what is built has hashed names, no inline script, and every licence', { skip: !existsSync(join(ROOT, 'dist')) && 'it is not built' }, () => {
  const html = readFileSync(join(ROOT, 'dist/index.html'), 'utf8');
  assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)|<style|\son\w+=|https?:\/\//i);
  const files = readdirSync(join(ROOT, 'dist/assets'));
  for (const name of files) assert.match(name, /-[\w-]{8}\.(js|css|svg|txt)$/);
  // What rrweb has inside its one file, by its source map.
  const map = JSON.parse(readFileSync(join(ROOT, 'node_modules/rrweb/dist/rrweb.js.map'), 'utf8'));
  const inside = new Set(map.sources.map((s) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(s)?.[1] ?? /^(?:\.\.\/)+(rrweb-snapshot|rrdom|utils|types)\//.exec(s)?.[1]).filter(Boolean));
  const licences = readFileSync(join(ROOT, 'dist/assets', files.find((f) => f.startsWith('licences'))), 'utf8');
  assert.ok(inside.size >= 5);
  for (const name of inside) assert.match(licences, new RegExp(`^(@rrweb/)?${name} \\d`, 'm'), name);
});
