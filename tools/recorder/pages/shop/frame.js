// Header, footer, the product card and the cart: what all shop pages share.
import { $, art, h, icon, money, stars, store } from '/common/dom.js';
import { Prose, cap } from '/common/words.js';
import { CATEGORIES, HUES, product } from './data.js';

export const cart = {
  lines: () => store.get('cart', []),
  save(lines) {
    store.set('cart', lines);
    const n = lines.reduce((a, l) => a + l.n, 0);
    const badge = $('#cart-count');
    if (badge) badge.textContent = n;
  },
  add(id, n, colour) {
    const lines = cart.lines();
    const same = lines.find((l) => l.id === id && l.colour === colour);
    if (same) same.n += n;
    else lines.push({ id, n, colour });
    cart.save(lines);
  },
  total: () => cart.lines().reduce((a, l) => a + l.n * product(l.id).price, 0),
};

export function toast(text) {
  const el = h('div', { class: 'toast', role: 'status' }, text);
  document.body.append(el);
  setTimeout(() => el.remove(), 2600);
}

export function header() {
  const count = cart.lines().reduce((a, l) => a + l.n, 0);
  $('#top').append(
    h('div', { class: 'strip' }, h('div', { class: 'wrap' },
      h('span', null, icon('truck', 16), 'Free delivery above €60'), h('span', null, icon('leaf', 16), 'Packed without plastic'), h('span', null, icon('check', 16), '60 days to return'))),
    h('header', { class: 'masthead' }, h('div', { class: 'wrap' },
      h('a', { class: 'brand', href: '/index.html' }, 'Tarn ', h('b', null, '&'), ' Tallow'),
      h('form', { action: '/catalogue.html', role: 'search' }, icon('search', 18), h('input', { type: 'search', name: 'q', placeholder: 'Search 480 things for a quiet house', 'aria-label': 'Search' })),
      h('nav', null, h('a', { href: '/account.html', id: 'nav-account' }, icon('user'), store.get('name', 'Sign in')), h('a', { href: '/cart.html', id: 'nav-cart' }, icon('cart'), 'Cart', h('span', { class: 'count', id: 'cart-count' }, count))))),
    h('div', { class: 'cats' }, h('div', { class: 'wrap' }, CATEGORIES.map((c) => h('a', { href: `/catalogue.html?c=${encodeURIComponent(c)}` }, c)))));
}

export function footer() {
  const p = new Prose('footer');
  $('#bottom').append(h('footer', { class: 'site' }, h('div', { class: 'wrap cols' },
    h('div', null, h('h4', null, 'Tarn & Tallow'), h('p', null, p.paragraph(2, 3))),
    ['Shop', 'Service', 'About', 'More'].map((t) => h('div', null, h('h4', null, t), Array.from({ length: 6 }, () => h('a', { href: '#' }, cap(p.phrase()))))))));
}

export function productCard(p) {
  const like = h('button', { class: 'like', 'aria-label': 'Keep for later', onclick: () => like.classList.toggle('on') }, icon('heart', 17));
  return h('article', { class: 'card product u-bg-white', 'data-id': p.id, 'data-category': p.category },
    h('a', { href: `/product.html?id=${p.id}`, class: 'picture', tabindex: -1 }, art(p.id, p.name)), like,
    h('div', { class: 'body' },
      h('div', { class: 'line' }, p.category, p.isNew && h('span', { class: 'tag' }, 'New'), p.was > 0 && h('span', { class: 'tag warn' }, 'Sale'), p.eco && h('span', { class: 'tag plain' }, 'Eco')),
      h('h3', null, h('a', { href: `/product.html?id=${p.id}` }, p.name)),
      h('div', { class: 'line' }, stars(p.rating), h('span', null, `${p.rating.toFixed(1)} (${p.reviews})`)),
      h('p', { class: 'faint u-mb-0' }, `${cap(p.line)}.`),
      h('div', { class: 'swatches', role: 'list' }, p.colours.map((c) => h('span', { class: 'swatch', title: c, style: `background:${HUES[c]}`, role: 'listitem' }))),
      h('div', { class: 'foot' },
        h('span', { class: 'price' }, money(p.price), p.was > 0 && h('s', null, money(p.was))),
        h('button', { class: 'btn small add', onclick: () => { cart.add(p.id, 1, p.colours[0]); toast(`${p.name} is in your cart`); } }, icon('cart', 15), 'Add'))));
}

export const steps = (at) => h('div', { class: 'steps' }, ['Cart', 'Delivery', 'Payment', 'Done'].map((t, i) => h('span', { class: i === at ? 'on' : i < at ? 'done' : '' }, `${i + 1}. ${t}`)));

export function summary(action) {
  const total = cart.total();
  const ship = total > 6000 || total === 0 ? 0 : 490;
  return h('aside', { class: 'card sum' }, h('h3', null, 'Your order'),
    cart.lines().map((l) => h('div', null, h('span', { class: 'muted' }, `${l.n} × ${product(l.id).name}`), h('span', null, money(l.n * product(l.id).price)))),
    h('div', null, h('span', null, 'Delivery'), h('span', null, ship ? money(ship) : 'free')),
    h('div', { class: 'total' }, h('span', null, 'Total'), h('span', { id: 'grand-total' }, money(total + ship))), action);
}
