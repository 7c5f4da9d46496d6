// The pages of the help site: start, search, article.
import { $, h, icon, long, query } from '/common/dom.js';
import { Prose, cap } from '/common/words.js';
import { TOPICS, articles, body, find } from './library.js';
import { chatWidget } from './chat.js';

const link = (a) => h('a', { href: `/article.html?id=${a.id}` }, a.title);
const searchForm = (value) => h('form', { action: '/search.html', role: 'search' }, icon('search'), h('input', { type: 'search', name: 'q', id: 'q', placeholder: 'What are you looking for?', 'aria-label': 'Search', value }));

function start(main) {
  $('#top').append(h('section', { class: 'hero' }, h('div', { class: 'wrap' }, h('h1', null, 'How can we help?'), searchForm(''), h('p', { class: 'u-mt-3' }, 'Popular: orders, refunds, passwords, delivery'))));
  const p = new Prose('start');
  main.append(h('div', { class: 'topics' }, TOPICS.map(([t, i], n) => h('section', { class: 'card topic' }, h('h3', null, icon(i, 20), t), h('ul', null, articles().filter((a) => a.topic === n).slice(0, 12).map((a) => h('li', null, link(a))))))),
    h('h2', { style: 'margin-top:40px' }, 'News'), ...Array.from({ length: 12 }, () => h('section', { class: 'card hit' }, h('h3', null, p.heading()), h('p', null, p.paragraph()), h('span', { class: 'faint' }, p.date()))));
}

function marked(text, words) {
  const parts = text.split(new RegExp(`(${words.map((w) => w.replace(/\W/g, '')).filter(Boolean).join('|') || '$^'})`, 'gi'));
  return parts.map((t, i) => (i % 2 ? h('mark', null, t) : t));
}

function search(main) {
  const q = query('q') || '';
  const hits = find(q);
  $('#top').append(h('section', { class: 'hero' }, h('div', { class: 'wrap' }, searchForm(q))));
  main.append(h('h2', { style: 'margin-top:26px' }, `${hits.length} answers for “${q}”`), ...hits.slice(0, 30).map((a) => h('section', { class: 'card hit' }, h('span', { class: 'tag' }, TOPICS[a.topic][0]), h('h3', null, link(a)), h('p', { class: 'muted' }, marked(a.lead, q.split(/\s+/))))));
  if (!hits.length) main.append(h('p', null, 'Nothing found. Try one plain word, or ask us in the chat.'));
}

function comments(a) {
  const p = new Prose(`comments ${a.id}`);
  return h('section', null, h('h2', null, 'What others asked'), Array.from({ length: p.rng.int(3, 24) * (long() ? 4 : 1) }, () => h('div', { class: 'card hit' }, h('b', null, p.person()), h('span', { class: 'faint' }, ` ${p.date()}`), h('p', null, p.paragraph(1, 4)), h('p', { class: 'muted' }, `Lantern answered: ${p.paragraph(1, 3)}`))));
}

function article(main) {
  const a = articles()[Number(query('id')) || 0] || articles()[0];
  document.title = `${a.title} · Lantern Help`;
  const parts = body(a);
  const vote = h('div', { class: 'vote' }, h('span', null, 'Did this help?'), ['Yes', 'No'].map((t) => h('button', { class: 'btn ghost small', onclick: () => vote.replaceChildren(h('b', { id: 'thanks' }, 'Thank you for telling us.')) }, t)));
  main.append(h('div', { class: 'crumbs' }, h('a', { href: '/index.html' }, 'Help'), '/', TOPICS[a.topic][0]),
    h('div', { class: 'layout' },
      h('aside', null, h('h4', null, TOPICS[a.topic][0]), h('ul', null, articles().filter((x) => long() || x.topic === a.topic).map((x) => h('li', { class: x === a ? 'on' : '' }, link(x))))),
      h('article', { class: 'doc' }, h('h1', null, a.title), h('p', null, h('b', null, a.lead)), parts.map((s, i) => [h('h2', { id: `s${i}` }, s.title), s.paragraphs.map((t) => h('p', null, t)), s.steps && h('ol', null, s.steps.map((t) => h('li', null, t))), s.note && h('div', { class: 'callout' }, s.note), s.table && h('table', null, h('tbody', null, s.table.map((r) => h('tr', null, r.map((c) => h('td', null, c)))))), s.code && h('pre', null, s.code)]), vote, comments(a)),
      h('aside', null, h('h4', null, 'On this page'), h('ul', null, parts.map((s, i) => h('li', null, h('a', { href: `#s${i}` }, s.title)))), h('h4', null, 'See also'), h('ul', null, articles().filter((x) => x.id % 13 === a.id % 13 && x !== a).map((x) => h('li', null, link(x)))))));
}

long();
$('#top').append(h('header', { class: 'site' }, h('div', { class: 'wrap' }, h('a', { class: 'brand', href: '/index.html' }, icon('book', 24), 'Lantern Help'), h('nav', null, ['Guides', 'Status', 'Contact'].map((t) => h('a', { href: '/index.html' }, t))))));
({ index: start, search, article })[document.body.dataset.page]($('#main'));
$('#bottom').append(h('footer', { class: 'site' }, h('div', { class: 'wrap' }, cap(new Prose('foot').sentence()))));
chatWidget();
