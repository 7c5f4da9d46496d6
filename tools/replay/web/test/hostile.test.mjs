import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, names, replayText, sessionHash, shot, signIn, startService, until, visit } from './lib/harness.mjs';

const skip = !names.hostileSite && 'REELVAULT_HOSTILE_SITE is not set';

let service; let browser; let v; let page;
before(async () => {
  service = await startService();
  browser = await launch();
  v = await visit(browser, service.url);
  page = v.page;
  page.on('dialog', (d) => { v.seen.errors.push(`a dialog: ${d.message()}`); void d.dismiss(); });
  v.context.on('page', () => v.seen.errors.push('a window was opened'));
  await signIn(v);
});
after(async () => { await browser?.close(); await service?.close(); });

// No script ran in this window or in any frame, and nothing was asked for elsewhere.
async function quiet() {
  await page.waitForTimeout(600);
  const ran = await page.evaluate(() => {
    const windows = [window];
    for (const w of windows) for (let i = 0; i < w.frames.length; i++) windows.push(w.frames[i]);
    return windows.map((w) => { try { return w.__pwned; } catch { return undefined; } }).filter(Boolean);
  });
  assert.deepEqual(ran, []);
  assert.deepEqual(v.seen.left, []);
  assert.deepEqual(v.seen.loaded, []);
  assert.deepEqual(v.seen.errors, []);
  assert.deepEqual(service.outside.calls, []);
}

test('markup in ids, visitors and attributes is only text in the list', { skip }, async () => {
  await page.goto(`${service.url}/#/s/${encodeURIComponent(names.hostileSite)}`);
  await page.getByText('<script>window.__pwned=1</script>').waitFor();
  assert.equal(await page.locator('main img, main script, main svg[onload]').count(), 0);
  await shot(page, 'hostile-list');
  await quiet();
});

test('a hostile recording plays to its end, runs nothing and reaches nothing', { skip }, async () => {
  await page.goto(`${service.url}/${sessionHash(names.hostileSite, 's-hostile')}`);
  await until('it is shown', async () => (await replayText(page)).includes('Hostile page, quietly shown'));
  await page.getByRole('slider').focus();
  await page.keyboard.press('Home');
  await page.locator('body').press('s');
  await until('it has ended', async () => (await replayText(page)).includes('and the end of it'), 20_000);
  await page.getByRole('tab', { name: 'Details' }).click();
  await shot(page, 'hostile-replay');
  await quiet();
});

test('nobody can be led out of it by a click', { skip }, async () => {
  await page.goto(`${service.url}/${sessionHash(names.hostileSite, 's-hostile', 2000)}`);
  await until('it is shown', async () => (await replayText(page)).includes('an outside link'));
  const box = await page.locator('.replayer-wrapper iframe').boundingBox();
  for (let y = 10; y < box.height; y += 60) await page.mouse.click(box.x + 120, box.y + y);
  assert.ok(page.url().startsWith(service.url));
  await quiet();
});

test('an id full of markup opens and is shown as text', { skip }, async () => {
  await page.goto(`${service.url}/#/s/${encodeURIComponent(names.hostileSite)}`);
  await page.getByRole('grid').waitFor();
  await page.locator(`[role=row] a[href*="${encodeURIComponent('"><img src=')}"]`).first().click();
  await page.getByRole('heading', { name: /"><img src=/ }).waitFor();
  await until('it is shown', async () => (await replayText(page)).includes('Hostile page, quietly shown'));
  await quiet();
});

test('a hostile chat is only text', { skip }, async () => {
  await page.goto(`${service.url}/${sessionHash(names.hostileSite, names.hostileChat)}`);
  await page.getByText('javascript:alert(1)').waitFor();
  assert.equal(await page.locator('main img').count(), 0);
  await quiet();
});

test('a picture that asks the service in the name of whoever watches is refused', { skip }, async () => {
  await page.goto(`${service.url}/`);
  const path = `/v1/sites/${encodeURIComponent(names.site)}/export?from=77`;
  const answered = page.waitForResponse((r) => r.url().endsWith(path));
  await page.evaluate((src) => { const image = new Image(); image.src = src; document.body.append(image); }, path);
  assert.equal((await answered).status(), 403);
  v.seen.loaded.length = 0;
});

test('what a frame asks of the service is noted', { skip }, async () => {
  const w = await visit(browser, service.url);
  await w.page.setContent(`<iframe src="${service.url}/v1/status"></iframe>`);
  await until('it was asked for', () => w.seen.loaded.length > 0);
  assert.match(w.seen.loaded[0], /^document .*\/v1\/status$/);
  await w.context.close();
});

test('what the page sanitises away, the policy would have stopped as well', { skip }, async () => {
  const reply = await v.context.request.get(`${service.url}/`);
  const policy = reply.headers()['content-security-policy'] ?? '';
  for (const part of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "img-src 'self' data: blob:", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]) assert.ok(policy.includes(part), part);
  assert.doesNotMatch(policy, /unsafe-eval|script-src[^;]*unsafe-inline/);
  assert.doesNotMatch(await reply.text(), /<script(?![^>]*\bsrc=)|\son\w+=|javascript:/i);
});
