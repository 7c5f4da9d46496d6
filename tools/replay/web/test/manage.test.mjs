import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { launch, names, sessionHash, shot, signIn, startService, until, visit } from './lib/harness.mjs';
import { linesOf, recorded } from './lib/recorded.mjs';

let service; let browser; let v; let page;
before(async () => {
  service = await startService();
  browser = await launch();
  v = await visit(browser, service.url);
  page = v.page;
  await signIn(v);
});
after(async () => { await browser?.close(); await service?.close(); });

const open = async (site, id) => {
  await page.goto(`${service.url}/${sessionHash(site, id)}`);
  await page.getByRole('heading', { name: id }).waitFor();
};

test('a chat is read beside its replay, and a message is a place to jump to', async () => {
  await open(names.chatSite, names.chatSession);
  const { messages } = recorded(names.chatSite, `${names.chatSession}-chat`);
  const panel = page.getByRole('tabpanel', { name: 'Chat' });
  await panel.getByText(messages[1].text.split('\n')[0].slice(0, 60)).waitFor();
  assert.equal(await panel.locator('.text').count(), messages.length);
  await panel.getByTitle('Watch this moment').nth(2).click();
  await until('the message has been said', async () => (await panel.locator('li:not(.later)').count()) >= 3);
  await shot(page, 'chat-beside-replay');
});

test('a chat by itself is a transcript with a way to the replay', async () => {
  await open(names.chatSite, `${names.chatSession}-chat`);
  const { messages } = recorded(names.chatSite, `${names.chatSession}-chat`);
  await page.getByText(messages.at(-1).text.split('\n')[0].slice(0, 60)).waitFor();
  assert.deepEqual((await page.locator('main .text').allTextContents()), messages.map((m) => m.text));
  await shot(page, 'chat');
  await page.getByRole('link', { name: 'Watch the replay beside this chat' }).click();
  await page.locator('.replayer-wrapper iframe').waitFor();
  assert.ok(page.url().includes(`/${names.chatSession}?t=`));
});

test('an export is the session, byte for byte', async () => {
  await open(names.site, names.session);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export' }).click()]);
  assert.equal(download.suggestedFilename().endsWith('.ndjson'), true);
  assert.equal(await readFile(await download.path(), 'utf8'), `${linesOf(names.site, names.session).join('\n')}\n`);
});

test('a site is exported for a time', async () => {
  await page.goto(`${service.url}/#/s/${names.site}`);
  await page.getByRole('button', { name: 'Export' }).click();
  await page.getByLabel('From', { exact: true }).fill('2026-11-22T00:00');
  await shot(page, 'export');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  assert.match(download.url(), /\/export\?from=\d+&to=\d+$/);
});

test('a session is held with a reason, and released', async () => {
  await open(names.site, names.hold);
  await page.getByRole('button', { name: 'Hold' }).click();
  const dialog = page.getByRole('dialog', { name: 'Hold this session' });
  assert.equal(await dialog.getByRole('button', { name: 'Hold' }).isDisabled(), true, 'a hold needs a reason');
  await dialog.getByLabel('Reason').fill('A question of the court <b>7</b>');
  await dialog.getByRole('button', { name: 'Hold' }).click();
  await page.getByText('Held', { exact: true }).waitFor();
  await page.reload();
  await page.getByRole('tab', { name: 'Details' }).click();
  await page.getByText('A question of the court <b>7</b>').waitFor();
  await shot(page, 'held');
  // What is held is erased only by saying so.
  await page.getByRole('button', { name: 'Erase' }).click();
  await page.getByLabel(/Type the session id/).fill(names.hold);
  assert.equal(await page.getByRole('button', { name: 'Erase for ever' }).isDisabled(), true);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Release' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Release' }).click();
  await page.getByText('Held', { exact: true }).waitFor({ state: 'detached' });
});

test('where another session of the id is held, the refusal offers to erase it all the same', async () => {
  const asked = [];
  await page.route('**/erase', (route) => {
    const { held } = route.request().postDataJSON();
    asked.push(held);
    const detail = held ? 'Another process writes to the store; nothing was changed.' : 'It is held. Nothing was erased.';
    return route.fulfill({ status: 409, contentType: 'application/problem+json', body: JSON.stringify({ title: 'Conflict', detail }) });
  });
  await open(names.site, names.session);
  await page.getByRole('button', { name: 'Erase' }).click();
  const sure = page.getByRole('button', { name: 'Erase for ever' });
  const box = page.getByLabel('Erase it although it is held');
  await page.getByLabel(/Type the session id/).fill(names.session);
  assert.equal(await box.count(), 0);
  await sure.click();
  await box.waitFor();
  assert.equal(await sure.isDisabled(), true);
  await box.check();
  await sure.click();
  await page.getByText('Another process writes to the store').waitFor();
  assert.deepEqual(asked, [false, true]);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.unroute('**/erase');
});

test('an erased session leaves a certificate, and answers that it is gone', async () => {
  await open(names.site, names.erase);
  await page.getByRole('button', { name: 'Erase' }).click();
  const sure = page.getByRole('button', { name: 'Erase for ever' });
  await page.getByLabel(/Type the session id/).fill(names.erase.slice(0, -1));
  assert.equal(await sure.isDisabled(), true, 'half an id is no confirmation');
  await page.getByLabel(/Type the session id/).fill(names.erase);
  await shot(page, 'erase');
  await sure.click();
  await page.getByRole('dialog', { name: 'The session is erased' }).waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Save the certificate' }).click()]);
  const certificate = JSON.parse(await readFile(await download.path(), 'utf8'));
  assert.equal(typeof certificate, 'object');
  assert.ok(!JSON.stringify(certificate).includes(names.erase), 'a certificate names nobody');
  await shot(page, 'certificate');
  await page.getByRole('dialog').getByRole('button', { name: 'Close', exact: true }).last().click();
  await page.getByRole('heading', { name: 'Erased or expired' }).waitFor();
  await shot(page, 'gone');
  await page.getByRole('button', { name: 'Back to the sessions' }).last().click();
  await page.getByRole('grid').waitFor();
  assert.equal(await page.locator(`a[href*="${names.erase}"]`).count(), 0);
  const answer = await v.context.request.get(`${service.url}/v1/sites/${names.site}/sessions/${names.erase}`);
  assert.equal(answer.status(), 410);
});

test('the audit log tells of it, to auditors', async () => {
  await page.goto(`${service.url}/#/s/${names.site}/audit`);
  await page.getByRole('row').filter({ hasText: names.erase }).filter({ hasText: /erase/ }).first().waitFor();
  await page.getByLabel('Search what is loaded').fill('hold');
  await until('only holds are left', async () => (await page.locator('tbody tr').count()) > 0 && (await page.locator('tbody tr').allTextContents()).every((t) => /hold/.test(t)));
  await shot(page, 'audit');
});

test('a viewer is shown nothing that they may not do', { skip: !names.viewer && 'REELVAULT_VIEWER is not set' }, async () => {
  const w = await visit(browser, service.url);
  await signIn(w, names.viewer, names.viewerPassword, sessionHash(names.site, names.session));
  await w.page.locator('.replayer-wrapper iframe').waitFor();
  for (const name of ['Export', 'Hold', 'Erase']) assert.equal(await w.page.getByText(name, { exact: true }).count(), 0, name);
  assert.equal(await w.page.getByRole('link', { name: 'Audit' }).count(), 0);
  await w.page.goto(`${service.url}/#/s/${names.site}/audit`);
  await w.page.getByText('Your roles on this site do not include this').waitFor();
  await shot(w.page, 'not-allowed');
  await w.context.close();
});

test('nothing went wrong and nothing left the origin', () => {
  assert.deepEqual(v.seen.errors, []);
  assert.deepEqual(v.seen.left, []);
});
