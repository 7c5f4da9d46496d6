// Home, catalogue (scrolls without end) and product page.
import { $, $$, art, h, long, money, query, stars } from '/common/dom.js';
import { Rng } from '/common/rng.js';
import { Prose, cap } from '/common/words.js';
import { CATEGORIES, HUES, product, products } from './data.js';
import { cart, productCard, toast } from './frame.js';

export function home(main) {
  const r = new Rng(`home ${query('v') || Math.random()}`);
  const p = new Prose(r);
  const section = (title, list) => [h('div', { class: 'section-head' }, h('h2', null, title), h('a', { href: '/catalogue.html' }, 'See all')), h('div', { class: 'grid' }, list.map(productCard))];
  main.append(
    h('section', { class: 'hero' }, h('div', { class: 'words' }, h('span', { class: 'tag' }, 'This week'), h('h1', null, 'Made slowly, kept for long'), h('p', null, p.paragraph(2, 3)), h('a', { class: 'btn', href: '/catalogue.html' }, 'Browse the catalogue')), art('hero', 'A still life', 640, 420, 16)),
    ...section('New in the workshop', r.some(products().filter((x) => x.isNew), long() ? 24 : 8)),
    ...section('Chosen for you', r.some(products(), long() ? 36 : 12)),
    h('div', { class: 'section-head' }, h('h2', null, 'From the journal')),
    h('div', { class: 'grid three' }, Array.from({ length: 3 }, (_, i) => h('article', { class: 'card product' }, art(`journal ${i}`, 'Journal'), h('div', { class: 'body' }, h('h3', null, p.heading()), h('p', { class: 'muted' }, p.paragraph(3, 4)), h('span', { class: 'faint' }, `${p.person()}, ${p.date()}`))))));
}

export function catalogue(main) {
  const q = (query('q') || '').toLowerCase();
  const state = { categories: new Set(query('c') ? [query('c')] : []), order: 'popular', eco: false, max: 30000, shown: 0 };
  const grid = h('div', { class: 'grid three', id: 'grid' });
  const info = h('span', { class: 'muted', id: 'found' });
  const more = h('div', { class: 'more', id: 'more' }, 'Loading more…');
  let found = [];
  const orders = { popular: (a, b) => b.reviews - a.reviews, cheap: (a, b) => a.price - b.price, dear: (a, b) => b.price - a.price, rating: (a, b) => b.rating - a.rating };
  const grow = (n) => {
    grid.append(...found.slice(state.shown, state.shown + n).map(productCard));
    state.shown = Math.min(found.length, state.shown + n);
    more.textContent = state.shown < found.length ? 'Loading more…' : 'That was everything.';
  };
  const apply = () => {
    const first = q.split(/\s+/).filter(Boolean);
    found = products().filter((x) => (!state.categories.size || state.categories.has(x.category)) && x.price <= state.max && (!state.eco || x.eco) && (!first.length || first.some((w) => `${x.name} ${x.line}`.toLowerCase().includes(w)))).sort(orders[state.order]);
    info.textContent = `${found.length} things${q ? ` for “${q}”` : ''}`;
    grid.replaceChildren();
    state.shown = 0;
    grow(long() ? 72 : 24);
  };
  const box = (name, on, change, count) => h('label', null, h('input', { type: 'checkbox', name, checked: on, onchange: (e) => change(e.target.checked) }), name, h('i', null, count));
  main.append(
    h('div', { class: 'crumbs' }, h('a', { href: '/index.html' }, 'Home'), '/', 'Catalogue'),
    h('div', { class: 'catalogue' },
      h('aside', { class: 'card filters' },
        h('h4', null, 'Room'), CATEGORIES.map((c) => box(c, state.categories.has(c), (on) => { if (on) state.categories.add(c); else state.categories.delete(c); apply(); }, products().filter((x) => x.category === c).length)),
        h('h4', null, 'Made well'), box('Eco', false, (on) => { state.eco = on; apply(); }, products().filter((x) => x.eco).length),
        h('h4', null, 'Price'), h('input', { type: 'range', min: 1000, max: 30000, value: 30000, step: 500, id: 'price', oninput: (e) => { state.max = Number(e.target.value); $('#max').textContent = money(state.max); }, onchange: apply }), h('div', { class: 'faint' }, 'up to ', h('span', { id: 'max' }, money(30000)))),
      h('div', null,
        h('div', { class: 'toolbar' }, info, h('select', { id: 'order', 'aria-label': 'Order', onchange: (e) => { state.order = e.target.value; apply(); } }, [['popular', 'Most loved'], ['cheap', 'Price, low first'], ['dear', 'Price, high first'], ['rating', 'Best rated']].map(([v, t]) => h('option', { value: v }, t)))),
        grid, more)));
  apply();
  new IntersectionObserver((seen) => { if (seen.some((e) => e.isIntersecting)) setTimeout(() => grow(long() ? 24 : 12), 250); }, { rootMargin: '300px' }).observe(more);
}

function reviews(p) {
  const r = new Rng(`reviews ${p.id}`);
  const prose = new Prose(r);
  const counts = [5, 4, 3, 2, 1].map((n) => [n, r.int(2, 30) * (n > 3 ? 4 : 1)]);
  const sum = counts.reduce((a, c) => a + c[1], 0);
  return h('div', { id: 'reviews' },
    h('div', { class: 'bars' }, counts.map(([n, c]) => h('div', null, `${n} ★`, h('i', null, h('b', { style: `width:${Math.round((100 * c) / sum)}%` })), h('span', { class: 'faint' }, c)))),
    Array.from({ length: r.int(14, 26) }, () => {
      const who = prose.person();
      const helpful = h('button', { class: 'btn ghost small', onclick: (e) => { e.currentTarget.textContent = 'Thank you'; } }, `Helpful (${r.int(0, 40)})`);
      return h('article', { class: 'card review' }, h('header', null, h('span', { class: 'avatar', style: `background:hsl(${r.int(0, 359)} 34% 46%)` }, who.split(' ').map((w) => w[0]).join('')), h('div', null, h('b', null, who), h('div', { class: 'faint' }, `${prose.date()}, verified`)), stars(r.int(2, 5))), h('h3', null, cap(prose.phrase())), h('p', null, prose.paragraph(2, 6)), helpful);
    }));
}

export function productPage(main) {
  const p = product(query('id'));
  const r = new Rng(`page ${p.id}`);
  const prose = new Prose(r);
  document.title = `${p.name} · Tarn & Tallow`;
  const views = Array.from({ length: 5 }, (_, i) => (i === 0 ? p.id : `${p.id}-${i}`));
  const big = h('div', { class: 'big' }, art(p.id, p.name, 640, 480, 12));
  const thumbs = h('div', { class: 'thumbs' }, views.map((v, i) => h('button', { class: i === 0 ? 'on' : '', 'aria-label': `View ${i + 1}`, onclick: (e) => { $$('button', thumbs).forEach((b) => b.classList.remove('on')); e.currentTarget.classList.add('on'); big.replaceChildren(art(v, p.name, 640, 480, 12)); } }, art(v, p.name, 120, 90, 4))));
  let colour = p.colours[0];
  let n = 1;
  const out = h('output', null, n);
  const name = h('span', { class: 'muted' }, cap(colour));
  const sw = h('div', { class: 'swatches u-mb-4' }, p.colours.map((c) => h('button', { class: `swatch ${c === colour ? 'on' : ''}`, style: `background:${HUES[c]};width:28px;height:28px`, title: c, onclick: (e) => { $$('button', sw).forEach((b) => b.classList.remove('on')); e.currentTarget.classList.add('on'); colour = c; name.textContent = cap(c); } })));
  const rows = ['Width', 'Depth', 'Height', 'Weight', 'Material', 'Finish', 'Made in', 'Care', 'Guarantee', 'Packing', 'Article', 'Season'].map((t) => h('tr', null, h('th', null, t), h('td', null, /Width|Depth|Height/.test(t) ? `${r.int(4, 120)} cm` : t === 'Weight' ? `${r.between(0.2, 9).toFixed(1)} kg` : t === 'Article' ? `TT-${r.int(10000, 99999)}` : cap(prose.phrase()))));
  const panes = {
    Description: h('div', null, Array.from({ length: 4 }, () => h('p', null, prose.paragraph(4, 7)))),
    Details: h('table', { class: 'specs' }, h('tbody', null, rows)),
    Reviews: reviews(p),
    Questions: h('div', null, Array.from({ length: 8 }, () => h('details', { class: 'card review' }, h('summary', null, `${prose.sentence().replace(/[.!]$/, '')}?`), h('p', { class: 'u-mt-3' }, prose.paragraph())))),
  };
  const every = () => Object.entries(panes).map(([t, el]) => h('section', null, h('h2', null, t), el));
  const pane = h('div', { id: 'pane' }, long() ? every() : panes.Description);
  const tabs = h('div', { class: 'tabs' }, Object.keys(panes).map((t, i) => h('button', { class: i === 0 ? 'on' : '', onclick: (e) => { $$('button', tabs).forEach((b) => b.classList.remove('on')); e.currentTarget.classList.add('on'); if (long()) panes[t].scrollIntoView(); else pane.replaceChildren(panes[t]); } }, t === 'Reviews' ? `Reviews (${p.reviews})` : t)));
  main.append(
    h('div', { class: 'crumbs' }, h('a', { href: '/index.html' }, 'Home'), '/', h('a', { href: `/catalogue.html?c=${encodeURIComponent(p.category)}` }, p.category), '/', p.name),
    h('section', { class: 'detail' }, h('div', { class: 'gallery' }, big, thumbs),
      h('div', null, h('h1', null, p.name), h('div', { class: 'u-flex u-gap-2 u-items-center u-mb-3' }, stars(p.rating, 17), h('span', { class: 'muted' }, `${p.rating.toFixed(1)}, ${p.reviews} reviews`)),
        h('p', { class: 'price', style: 'font-size:1.5rem' }, money(p.price), p.was > 0 && h('s', null, money(p.was))), h('p', null, prose.paragraph(2, 3)),
        h('div', null, 'Colour: ', name), sw,
        h('div', { class: 'u-flex u-gap-3 u-mb-4' }, h('div', { class: 'qty' }, h('button', { class: 'less', onclick: () => { n = Math.max(1, n - 1); out.textContent = n; } }, '−'), out, h('button', { class: 'plus', onclick: () => { n += 1; out.textContent = n; } }, '+')),
          h('button', { class: 'btn', id: 'buy', onclick: () => { cart.add(p.id, n, colour); toast(`${n} × ${p.name} added`); } }, 'Add to cart')),
        h('ul', { class: 'muted' }, Array.from({ length: 5 }, () => h('li', null, cap(prose.clause())))))),
    tabs, pane,
    h('div', { class: 'section-head' }, h('h2', null, 'Goes well with')), h('div', { class: 'grid' }, r.some(products(), long() ? 24 : 8).map(productCard)));
}
