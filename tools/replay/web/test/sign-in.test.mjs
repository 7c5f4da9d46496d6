import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { REAL, launch, names, sessionHash, shot, signIn, startService, until, visit } from './lib/harness.mjs';

let service; let browser;
before(async () => { service = await startService(); browser = await launch(); });
after(async () => { await browser?.close(); await service?.close(); });

test('a person signs in with a password, and out again', async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(service.url);
  await v.page.getByRole('heading', { name: 'Sign in to reelvault' }).waitFor();
  await shot(v.page, 'sign-in');
  await signIn(v);
  await v.page.getByRole('grid').waitFor();
  await v.page.getByRole('button', { name: 'Sign out' }).click();
  await v.page.getByRole('heading', { name: 'Sign in to reelvault' }).waitFor();
  await v.page.reload();
  await v.page.getByRole('heading', { name: 'Sign in to reelvault' }).waitFor();
  assert.deepEqual(v.seen.errors, []);
  await v.context.close();
});

test('a wrong password is refused in words, and forgotten by the field', async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(service.url);
  await v.page.getByLabel('User').fill('nobody-of-this-name');
  await v.page.getByLabel('Password').fill('wrong');
  await v.page.getByRole('button', { name: 'Sign in' }).click();
  await v.page.getByRole('alert').getByText('User or password is wrong').waitFor();
  assert.equal(await v.page.getByLabel('Password').inputValue(), '');
  await v.context.close();
});

test('a one-time link signs in once, and leaves the address bar', { skip: !names.link && 'REELVAULT_LINK is not set' }, async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(`${service.url}/#link=${encodeURIComponent(names.link)}`);
  await v.page.getByRole('navigation').waitFor();
  assert.ok(!v.page.url().includes(names.link));
  await v.context.close();
  const again = await visit(browser, service.url);
  await again.page.goto(`${service.url}/#link=${encodeURIComponent(names.link)}`);
  await again.page.getByText('This sign-in link was used before, or is too old.').waitFor();
  await again.context.close();
});

test('an issuer signs in by its button', { skip: REAL && 'needs the issuer of the mock' }, async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(service.url);
  await v.page.getByRole('link', { name: 'Continue with Example ID' }).click();
  await v.page.getByRole('navigation').waitFor();
  await v.page.getByText('Emil').waitFor();
  await v.context.close();
});

/** Signs in at the issuer of tools/replay/with-service, as whoever is named. */
async function signInAt(issuer, name) {
  const v = await visit(browser, service.url);
  await v.page.goto(service.url);
  await v.page.getByRole('link', { name: 'Continue with Test ID' }).click();
  await v.page.waitForURL((url) => url.origin === issuer);
  await v.page.locator('input[name=login]').fill(name);
  await v.page.locator('input[name=password]').fill('any');
  await v.page.locator('button[type=submit]').click();
  // It asks for consent.
  await v.page.locator('input[name=login]').waitFor({ state: 'detached' });
  await v.page.locator('button[type=submit]').click();
  await v.page.waitForURL((url) => url.origin === service.url);
  const me = await v.page.evaluate(async () => (await fetch('/v1/me')).json());
  await v.context.close();
  return me;
}

test('a real issuer signs in, and only an address that it has verified is worth anything', { skip: !names.issuer && 'needs an issuer: tools/replay/with-service' }, async () => {
  const emil = await signInAt(names.issuer, 'emil');
  assert.deepEqual([emil.name, emil.sites], ['emil', [{ id: 'shop.example', roles: ['viewer'] }]]);
  const typed = await signInAt(names.issuer, 'unverified-emil');
  assert.deepEqual([typed.name, typed.sites], ['unverified-emil', []]);
});

test('when the sign-in ends in the middle, the page asks again and goes on at the same place', async () => {
  const v = await visit(browser, service.url);
  await signIn(v);
  const hash = sessionHash(names.site, names.session);
  await v.context.clearCookies();
  await v.page.goto(`${service.url}/${hash}`);
  await v.page.getByLabel('User').waitFor();
  await signInHere(v);
  await until('the session is shown', () => v.page.getByRole('heading', { name: names.session }).isVisible());
  await v.context.clearCookies();
  // Not by its link: what was still being fetched of the session may be refused first, and the link goes.
  await v.page.evaluate((hash) => { location.hash = hash; }, `#/s/${encodeURIComponent(names.site)}`);
  await v.page.getByRole('grid').or(v.page.getByText('Your session has ended')).waitFor();
  await v.page.keyboard.press('r');
  await v.page.getByText('Your session has ended').waitFor();
  await signInHere(v);
  await v.page.getByRole('grid').waitFor();
  await v.context.close();
});

async function signInHere({ page }) {
  await page.getByLabel('User').fill(names.user);
  await page.getByLabel('Password').fill(names.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation').waitFor();
}

test('a link to another’s site tells nothing of it', async () => {
  const v = await visit(browser, service.url);
  await signIn(v);
  await v.page.goto(`${service.url}/#/s/not-a-site-of-mine.example`);
  await v.page.getByText('it does not exist, or it belongs to a site that you may not see').waitFor();
  await v.context.close();
});

// Last, for whoever comes from an address that has guessed too often has to wait.
test('after too many attempts the page says how long to wait', async () => {
  const v = await visit(browser, service.url);
  await v.page.goto(service.url);
  const user = `guess-${Date.now()}`;
  const waiting = v.page.getByText(/Too many attempts. Try again in \d+ s/);
  for (let i = 0; i < 30 && !(await waiting.isVisible()); i++) {
    await v.page.getByLabel('User').fill(user);
    await v.page.getByLabel('Password').fill('wrong');
    const answered = v.page.waitForResponse((r) => r.url().endsWith('/auth/login'));
    await v.page.getByRole('button', { name: /Sign in/ }).click();
    await answered;
    await v.page.waitForTimeout(50);
  }
  await waiting.waitFor();
  assert.equal(await v.page.getByRole('button', { name: 'Sign in' }).isDisabled(), true);
  await v.context.close();
});
