// What visitors do on each site. A visit goes on until the visitor's time is up.
import { Prose } from '../pages/common/words.js';
import { NOUNS, THINGS } from '../pages/common/words.js';

const mail = (name) => `${name.toLowerCase().replace(' ', '.')}@mail.example`;

async function shopProduct(v) {
  const { hands, rng } = v;
  if (!(await hands.go('.product h3 a'))) return;
  await hands.read(rng.int(1500, 4500));
  for (let i = rng.int(0, 3); i > 0; i--) { await hands.click('.thumbs button'); await hands.wait(700); }
  if (rng.chance(0.6)) await hands.click('.detail .swatch');
  if (rng.chance(0.6)) { await hands.click('.tabs button'); await hands.read(rng.int(2000, 6000)); }
  if (rng.chance(0.5)) await hands.click('.review .btn');
  if (rng.chance(0.65)) {
    await hands.scroll(-4000);
    for (let i = rng.int(0, 2); i > 0; i--) await hands.click('.detail .plus');
    await hands.click('#buy');
    await hands.wait(1200);
  }
}

async function shopPay(v) {
  const { hands, rng, who } = v;
  const prose = new Prose(rng);
  if (!(await hands.go('#nav-cart'))) return;
  await hands.read(1500);
  if (rng.chance(0.4)) await hands.click('.cart-line .plus');
  if (rng.chance(0.25)) await hands.type('#voucher', `SPRING${rng.int(10, 99)}`);
  if (!(await hands.go('#go-checkout'))) return;
  const [first, last] = who.name.split(' ');
  await hands.type('#first', first);
  await hands.type('#last', last);
  await hands.type('#email', mail(who.name));
  await hands.type('#phone', `0${rng.int(100, 999)} ${rng.int(100000, 999999)}`);
  await hands.type('#street', `${prose.rng.pick(NOUNS)} lane ${rng.int(1, 140)}`);
  await hands.type('#postcode', String(rng.int(10000, 99999)));
  await hands.type('#town', 'Elmstead');
  await v.page.selectOption('#country', { index: rng.int(0, 15) });
  if (rng.chance(0.5)) await hands.type('#note', prose.sentence());
  if (!(await hands.go('#go-payment'))) return;
  await hands.type('#holder', who.name);
  if (rng.chance(0.4)) { await hands.type('#card', who.card.slice(0, 9), false); await hands.click('#go-pay'); await hands.wait(900); await hands.click('#card'); await hands.press('Control+A'); await hands.press('Delete'); }
  await hands.type('#card', who.card, false);
  await hands.type('#expiry', '08/29', false);
  await hands.type('#cvc', who.card.slice(5, 8), false);
  await hands.type('#confirm', who.password, false);
  if (await hands.go('#go-pay')) await hands.read(3000);
}

async function shopAccount(v) {
  const { hands, who } = v;
  const [first, last] = who.name.split(' ');
  if (!(await hands.go('#nav-account'))) return;
  await hands.read(1000);
  await hands.type('#register #first', first);
  await hands.type('#register #last', last);
  await hands.type('#register #email', mail(who.name));
  await hands.type('#register #password', who.password, false);
  await hands.type('#register #password2', who.password, false);
  await hands.go('#register .btn');
}

export async function shop(v) {
  const { hands, rng } = v;
  await v.open(`/index.html?v=${rng.hex(5)}${v.long ? '&long=1' : ''}`);
  await hands.read(rng.int(1500, 4000));
  if (rng.chance(0.35)) await shopAccount(v);
  for (let round = 0; ; round++) {
    const way = rng.next();
    if (way < 0.35) await hands.go('.cats a');
    else if (way < 0.6) { await hands.type('input[name=q]', rng.pick(THINGS)); await hands.press('Enter'); await hands.wait(1200); }
    else if (!(await hands.go('a[href="/catalogue.html"]'))) await hands.go('.cats a');
    await hands.scroll(rng.int(600, 3600));
    await hands.read(rng.int(1000, 3500));
    if (rng.chance(0.5)) { await hands.scroll(-8000); await hands.click('.filters label'); await hands.wait(900); }
    if (rng.chance(0.25)) { await v.page.selectOption('#order', { index: rng.int(0, 3) }).catch(() => {}); await hands.wait(800); }
    if (rng.chance(0.4)) await hands.click('.product .like');
    if (rng.chance(0.4)) await hands.click('.product .add');
    if (v.windows > 1 && !v.second && round === 0) await v.secondWindow('.product h3 a');
    for (let i = rng.int(1, 2); i > 0; i--) await shopProduct(v);
    if (v.second && round === 1) await v.firstWindow();
    if (rng.chance(0.6)) await shopPay(v);
  }
}

export async function dash(v) {
  const { hands, rng, who } = v;
  const prose = new Prose(rng);
  await v.open(`/index.html?v=${rng.hex(5)}${v.canvas ? '&canvas=1' : ''}${v.long ? '&long=1' : ''}`);
  await hands.wait(900);
  await hands.type('#user', mail(who.name));
  await hands.type('#pass', who.password, false);
  await hands.click('#enter');
  await hands.read(rng.int(4000, 9000));
  for (;;) {
    const what = rng.next();
    if (what < 0.3) {
      await hands.scroll(-3000);
      await hands.click(`.side button[data-view=${v.canvas ? 'overview' : rng.pick(['overview', 'fleet', 'log', 'settings', 'overview'])}]`);
    } else if (what < 0.45) {
      await hands.click('.tools .chip');
    } else if (what < 0.58) {
      await hands.click('.data th');
    } else if (what < 0.75) {
      if (await hands.click('.data tbody tr')) {
        await hands.wait(1500);
        if (rng.chance(0.5) && (await hands.type('.drawer .note', prose.sentence()))) await hands.click('.drawer .save');
        await hands.click('.drawer .close');
      }
    } else if (what < 0.87) {
      if (await hands.type('#find', rng.pick(['North', 'wick', 'ston', 'el', 'gold']))) { await hands.wait(1800); await hands.press('Control+A'); await hands.press('Delete'); }
    } else if (await v.page.$('#officekey')) {
      await hands.type('#shown', who.name.split(' ')[0]);
      await hands.type('#old', who.password, false);
      await hands.type('#officekey', who.key, false);
      await hands.type('#about', prose.sentence());
      await hands.click('.settings .btn');
    }
    await hands.read(rng.int(1500, 5000));
  }
}

async function helpSearch(v) {
  const { hands, rng } = v;
  if (!(await v.page.$('#q'))) await hands.go('header .brand');
  await hands.type('#q', `${rng.pick(NOUNS)} ${rng.pick(['order', 'refund', 'time', 'ticket'])}`);
  await hands.press('Enter');
  await hands.wait(1300);
  await hands.read(rng.int(1000, 3000));
  await hands.go('.hit h3 a');
}

async function helpChat(v) {
  const { hands, rng } = v;
  const prose = new Prose(rng);
  if (!(await v.page.$('#chat-text'))) await hands.click('#chat-open');
  await hands.wait(600);
  for (let i = 0; i < 9; i++) {
    const text = prose.text(rng.int(20, 110));
    if (rng.chance(0.45)) {
      // Pasted from somewhere else: a longer text at once.
      await hands.click('#chat-text');
      hands.check();
      await v.page.keyboard.insertText(`${text} ${prose.text(rng.int(120, 420))}`);
      await hands.wait(500);
    } else {
      const slow = hands.pace;
      hands.pace = Math.min(slow, 0.55);
      await hands.type('#chat-text', text);
      hands.pace = slow;
    }
    await hands.press('Enter');
    await hands.wait(rng.int(2600, 4200));
    if (rng.chance(0.3)) await hands.read(1500);
    if (i > 2 && rng.chance(0.2)) { await hands.go('.layout aside a'); await hands.read(1500); }
  }
}

export async function help(v) {
  const { hands, rng } = v;
  await v.open(`/index.html${v.long ? '?long=1' : ''}`);
  await hands.read(rng.int(1000, 2500));
  if (rng.chance(0.5)) await hands.go('.topic a');
  else await helpSearch(v);
  await hands.read(rng.int(1500, 4000));
  if (v.chat) await helpChat(v);
  for (let round = 0; ; round++) {
    if (v.windows > 1 && !v.second && round === 0) await v.secondWindow('.layout aside a, .topic a');
    const way = rng.next();
    if (way < 0.3) await helpSearch(v);
    else if (way < 0.9) { if (!(await hands.go('.layout aside a'))) await hands.go('.topic a, header .brand'); }
    else await hands.click('.vote button');
    await hands.read(rng.int(2500, 8000));
    if (v.second && round === 2) await v.firstWindow();
    if (v.chat && rng.chance(0.4)) await helpChat(v);
  }
}
