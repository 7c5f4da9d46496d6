// Cart, account, delivery, payment and the last page.
import { $, art, h, icon, money, store } from '/common/dom.js';
import { Prose } from '/common/words.js';
import { product } from './data.js';
import { cart, productCard, steps, summary, toast } from './frame.js';
import { products } from './data.js';

const field = (text, name, type = 'text', more = {}) => h('label', null, h('span', null, text), h('input', { type, name, id: name, ...more }), h('div', { class: 'field-error', id: `${name}-error` }));

export function cartPage(main) {
  const list = h('div', { class: 'card' });
  const side = h('div');
  const draw = () => {
    const lines = cart.lines();
    list.replaceChildren(...lines.map((l, i) => {
      const p = product(l.id);
      const change = (d) => { l.n = Math.max(0, l.n + d); cart.save(lines.filter((x) => x.n > 0)); draw(); };
      return h('div', { class: 'cart-line', 'data-line': i }, art(p.id, p.name), h('div', null, h('h3', null, h('a', { href: `/product.html?id=${p.id}` }, p.name)), h('div', { class: 'faint' }, `${l.colour}, ${p.category}`)), h('div', { class: 'qty' }, h('button', { class: 'less', onclick: () => change(-1) }, '−'), h('output', null, l.n), h('button', { class: 'plus', onclick: () => change(1) }, '+')), h('span', { class: 'price' }, money(p.price * l.n)));
    }));
    if (!lines.length) list.append(h('p', { class: 'more' }, 'Your cart is empty.'));
    side.replaceChildren(summary(h('section', null, h('label', { class: 'u-mt-3' }, h('span', null, 'Voucher'), h('input', { type: 'text', name: 'voucher', id: 'voucher' })), h('a', { class: 'btn wide', id: 'go-checkout', href: '/checkout.html' }, 'To delivery', icon('arrow', 16)))));
  };
  draw();
  main.append(steps(0), h('h1', null, 'Your cart'), h('div', { class: 'two' }, list, side), h('div', { class: 'section-head' }, h('h2', null, 'People also took')), h('div', { class: 'grid' }, products().slice(40, 52).map(productCard)));
}

export function account(main) {
  const p = new Prose('account');
  const signed = (form) => { store.set('name', $('#first', form).value || 'You'); toast('Welcome!'); setTimeout(() => { location.href = '/index.html'; }, 900); };
  const form = h('form', { class: 'card panel', id: 'register', onsubmit: (e) => { e.preventDefault(); signed(e.target); } }, h('h2', null, 'New here'),
    h('div', { class: 'row' }, field('First name', 'first', 'text', { autocomplete: 'given-name' }), field('Family name', 'last', 'text', { autocomplete: 'family-name' })),
    field('E-mail', 'email', 'email', { autocomplete: 'email' }), field('Password', 'password', 'password', { autocomplete: 'new-password' }), field('Password again', 'password2', 'password', { autocomplete: 'new-password' }),
    h('p', { class: 'faint', id: 'strength' }, 'At least ten characters.'), h('button', { class: 'btn wide' }, 'Make an account'));
  $('#password', form).addEventListener('input', (e) => { const n = e.target.value.length; $('#strength', form).textContent = n < 6 ? 'Too short.' : n < 10 ? 'Almost there.' : 'A strong password.'; });
  main.append(h('h1', { class: 'u-mt-8' }, 'Your account'), h('div', { class: 'two', style: 'grid-template-columns:1fr 1fr' }, form,
    h('div', { class: 'card panel' }, h('h2', null, 'Why an account'), Array.from({ length: 5 }, () => [h('h3', null, p.heading()), h('p', { class: 'muted' }, p.paragraph(2, 4))]))));
}

export function checkout(main) {
  const form = h('form', { class: 'card panel', id: 'delivery', onsubmit: (e) => { e.preventDefault(); location.href = '/payment.html'; } }, h('h2', null, 'Where shall it go?'),
    h('div', { class: 'row' }, field('First name', 'first'), field('Family name', 'last')), field('E-mail', 'email', 'email'), field('Phone', 'phone', 'tel'), field('Street and number', 'street'),
    h('div', { class: 'row' }, field('Postcode', 'postcode'), field('Town', 'town')),
    h('label', null, h('span', null, 'Country'), h('select', { name: 'country', id: 'country' }, ['Austria', 'Belgium', 'Denmark', 'Estonia', 'Finland', 'France', 'Germany', 'Ireland', 'Italy', 'Netherlands', 'Norway', 'Poland', 'Portugal', 'Spain', 'Sweden', 'Switzerland'].map((c) => h('option', null, c)))),
    h('div', { class: 'choices' }, [['Standard, 3 to 5 days', 'free'], ['Express, tomorrow', '€9.90'], ['Pick up in town', 'free']].map(([t, c], i) => h('label', null, h('input', { type: 'radio', name: 'ship', checked: i === 0 }), t, h('b', null, c)))),
    h('label', null, h('span', null, 'Note for the courier'), h('textarea', { name: 'note', id: 'note', rows: 3 })), h('button', { class: 'btn wide', id: 'go-payment' }, 'To payment'));
  main.append(steps(1), h('div', { class: 'two' }, form, summary()));
}

export function payment(main) {
  const fail = (id, text) => { $(`#${id}-error`).textContent = text; return !text; };
  const form = h('form', { class: 'card panel', id: 'pay', onsubmit: (e) => {
    e.preventDefault();
    const digits = $('#card').value.replace(/\D/g, '').length;
    const good = [fail('card', digits < 15 ? 'This number is too short.' : ''), fail('expiry', $('#expiry').value ? '' : 'Please fill in.'), fail('cvc', $('#cvc').value.length < 3 ? 'Three digits, please.' : '')].every(Boolean);
    if (!good) return;
    const b = $('#go-pay');
    b.disabled = true;
    b.textContent = 'One moment…';
    setTimeout(() => { location.href = '/done.html'; }, 1400);
  } }, h('div', { class: 'plastic' }, h('div', { class: 'chip' }), h('div', { class: 'digits' }, '•••• •••• •••• ••••'), h('div', { class: 'u-flex u-justify-space-between' }, h('span', null, 'CARD HOLDER'), h('span', null, 'MM/YY'))),
    field('Name on the card', 'holder', 'text', { autocomplete: 'cc-name' }), field('Card number', 'card', 'text', { autocomplete: 'cc-number', inputmode: 'numeric', 'data-private': '' }),
    h('div', { class: 'row' }, field('Valid until', 'expiry', 'text', { autocomplete: 'cc-exp', placeholder: 'MM/YY', 'data-private': '' }), field('CVC', 'cvc', 'tel', { autocomplete: 'cc-csc', maxlength: 4, 'data-private': '' })),
    field('Confirm with your shop password', 'confirm', 'password', { autocomplete: 'current-password' }),
    h('button', { class: 'btn wide', id: 'go-pay' }, icon('lock', 16), 'Pay now'), h('p', { class: 'faint u-mt-3' }, 'A demonstration: nothing is charged, nothing is sent.'));
  $('#card', form).addEventListener('input', (e) => { e.target.value = e.target.value.replace(/\D/g, '').slice(0, 16).replace(/(.{4})(?=.)/g, '$1 '); });
  main.append(steps(2), h('div', { class: 'two' }, form, summary()));
}

export function done(main) {
  const p = new Prose(`done ${Math.random()}`);
  const number = `TT-${p.rng.int(100000, 999999)}`;
  cart.save([]);
  main.append(steps(3), h('div', { class: 'card panel' }, h('h1', null, 'Thank you, it is on its way'), h('p', null, 'Your order number is ', h('b', { id: 'order-number' }, number), '.'), h('p', { class: 'muted' }, p.paragraph()), h('a', { class: 'btn ghost', href: '/catalogue.html' }, 'Look around a little more')), h('div', { class: 'section-head' }, h('h2', null, 'While you wait')), h('div', { class: 'grid' }, p.rng.some(products(), 8).map(productCard)));
}
