import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, names, shot, signIn, startService, until, visit } from './lib/harness.mjs';
import { sessionsOf } from './lib/recorded.mjs';

let service; let browser; let v; let page;
before(async () => {
  service = await startService();
  browser = await launch();
  v = await visit(browser, service.url);
  page = v.page;
  await signIn(v);
});
after(async () => { await browser?.close(); await service?.close(); });

const open = async (hash) => {
  await page.goto('about:blank');
  await page.goto(`${service.url}/${hash}`);
  await page.getByRole('grid').waitFor();
  await until('rows are shown', async () => (await page.locator('[role=row][id]').count()) > 0);
};
const rows = () => page.locator('[role=row][id]');
const selected = () => page.locator('[role=row][aria-selected=true]').getAttribute('id');

test('the list shows the sessions of the site, newest first', async () => {
  await open(`#/s/${names.site}`);
  await shot(page, 'list');
  assert.ok((await rows().count()) > 5);
  const asked = v.seen.requests.filter((r) => r.includes(`/v1/sites/${names.site}/sessions?`));
  assert.ok(asked.length >= 1);
  for (const id of [names.session, names.hold]) assert.ok(sessionsOf(names.site).some((s) => s.id === id), 'the corpus holds the sessions that the tests name');
  await page.getByRole('button', { name: /Started/ }).click();
  await until('the order is turned', () => page.url().includes('order=oldest'));
  const oldest = sessionsOf(names.site).reduce((a, b) => (a.start_ms < b.start_ms ? a : b));
  await page.getByText(oldest.visitor).first().waitFor();
});

test('two sessions of one id are two rows, and each opens itself', async () => {
  await page.route((url) => url.pathname === `/v1/sites/${names.site}/sessions`, async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    const first = list.sessions[0];
    list.sessions.splice(1, 0, { ...first, start_ms: first.start_ms - 3 * 86_400_000 });
    await route.fulfill({ response, json: list });
  });
  try {
    await open(`#/s/${names.site}`);
    const links = await rows().evaluateAll((found) => found.slice(0, 2).map((row) => row.querySelector('a').getAttribute('href')));
    const [one, two] = links.map((href) => href.split('?start='));
    assert.equal(one[0], two[0]);
    assert.equal(Number(one[1]) - Number(two[1]), 3 * 86_400_000);
    assert.deepEqual(v.seen.errors, []);
    const asked = page.waitForRequest((r) => r.url().includes(`?start=${one[1]}`));
    await page.locator('#row-0 a').click();
    await asked;
  } finally {
    await page.unrouteAll({ behavior: 'wait' });
  }
});

test('a filter for the visitor leaves only their sessions, and stands in the address', async () => {
  await open(`#/s/${names.site}`);
  const mine = sessionsOf(names.site).find((s) => s.id === names.session).visitor;
  await page.keyboard.press('/');
  await page.keyboard.type(mine);
  await page.keyboard.press('Enter');
  await until('the filter is set', () => page.url().includes(`visitor=${mine}`));
  await until('only theirs are left', async () => {
    const texts = await rows().allTextContents();
    return texts.length === sessionsOf(names.site).filter((s) => s.visitor === mine).length && texts.every((t) => t.includes(mine));
  });
  await page.keyboard.press('x');
  await until('the filter is cleared', async () => !page.url().includes('visitor=') && (await rows().count()) > 5);
});

test('filters for kind, length and time narrow the list', async () => {
  await open(`#/s/${names.chatSite}`);
  await page.getByLabel('Kind').selectOption('chat');
  await until('only chats', async () => (await rows().count()) > 0 && (await rows().allTextContents()).every((t) => t.includes('Chat')));
  await page.getByLabel('Kind').selectOption('replay');
  await page.getByLabel('Minimum length').selectOption('60000');
  const long = sessionsOf(names.chatSite).filter((s) => s.kind === 'replay' && s.duration_ms >= 60_000).length;
  await until('only long replays', async () => (await rows().count()) === Math.min(long, await rows().count()) && (await rows().allTextContents()).every((t) => /min|h/.test(t) && !t.includes('Chat')));
  await page.getByLabel('Time').selectOption('custom');
  await page.getByLabel('From', { exact: true }).fill('2001-01-01T00:00');
  await page.getByLabel('To', { exact: true }).fill('2001-01-02T00:00');
  await page.getByText('No session fits these filters').waitFor();
  await shot(page, 'list-empty');
  await page.getByRole('button', { name: 'Clear the filters' }).click();
  await until('all are back', async () => (await rows().count()) > 5);
});

test('the list is walked by keyboard', async () => {
  await open(`#/s/${names.site}`);
  assert.equal(await selected(), 'row-0');
  for (const key of ['j', 'j', 'ArrowDown', 'k']) await page.keyboard.press(key);
  assert.equal(await selected(), 'row-2');
  await page.keyboard.press('G');
  assert.notEqual(await selected(), 'row-2');
  await page.keyboard.press('g');
  await page.keyboard.press('j');
  const href = await page.locator('#row-1 a').getAttribute('href');
  await page.keyboard.press('Enter');
  await until('the session is opened', () => page.url().endsWith(href));
  await page.locator('.replayer-wrapper').waitFor();
  await page.keyboard.press('u');
  await page.getByRole('grid').waitFor();
  assert.equal(await selected(), 'row-1', 'the list is as it was left');
});

test('the help of keys opens by ? and closes by Escape', async () => {
  await open(`#/s/${names.site}`);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  const licences = await page.getByRole('link', { name: 'Licences' }).getAttribute('href');
  const text = await (await v.context.request.get(service.url + licences)).text();
  for (const name of ['rrweb', 'svelte', 'postcss', 'mitt']) assert.match(text, new RegExp(`^${name} \\d`, 'm'));
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
});

test('another site is chosen by the switcher', async () => {
  await open(`#/s/${names.site}`);
  await page.getByRole('button', { name: `Site: ${names.site}` }).click();
  await page.getByRole('option', { name: names.chatSite }).click();
  await until('the other site is shown', () => page.url().endsWith(`#/s/${names.chatSite}`));
});

test('a hundred thousand sessions scroll fast, with few rows in the page', { skip: !names.manySite && 'REELVAULT_MANY_SITE is not set' }, async () => {
  const begun = Date.now();
  await open(`#/s/${names.manySite}`);
  const first = Date.now() - begun;
  assert.ok(first < 3000, `the first rows took ${first} ms`);
  const box = page.getByRole('grid');
  const count = () => page.locator('.count').textContent().then((t) => Number(t.replace(/\D/g, '')));
  for (let i = 0; i < 8; i++) {
    const before = await count();
    await box.evaluate((el) => { el.scrollTop = el.scrollHeight; });
    await until('more is loaded', async () => (await count()) > before);
    assert.ok((await rows().count()) < 120, 'only what is seen is drawn');
  }
  assert.ok((await count()) >= 1600);
  // A frame of scrolling through what is loaded.
  const slowest = await box.evaluate(async (el) => {
    let worst = 0;
    for (let i = 0; i < 40; i++) {
      el.scrollTop = (i * 7919) % (el.scrollHeight - el.clientHeight - 8000);
      const t = performance.now();
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      worst = Math.max(worst, performance.now() - t);
    }
    return worst;
  });
  assert.ok(slowest < 400, `the slowest frame took ${slowest} ms`);
  await shot(page, 'list-many');
});

test('nothing went wrong and nothing left the origin', () => {
  assert.deepEqual(v.seen.errors, []);
  assert.deepEqual(v.seen.left, []);
});
