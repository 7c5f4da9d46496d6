// Sign-in, the frame around the views, and the clock that moves the numbers.
import { $, $$, h, icon, store } from '/common/dom.js';
import { prose, rng } from './model.js';
import { fleetView, logView, overview, settings } from './views.js';

const VIEWS = { overview: [overview, 'chart'], fleet: [fleetView, 'truck'], log: [logView, 'book'], settings: [settings, 'gear'] };
const root = $('#app');
let view = null;
let paused = false;

function show(name) {
  $('.drawer')?.remove();
  view = VIEWS[name][0]();
  $('#title').textContent = view.title;
  $('#view').replaceChildren(...view.el.flat(9));
  $$('.side button').forEach((b) => b.classList.toggle('on', b.dataset.view === name));
  history.replaceState(null, '', `${location.pathname}${location.search}#${name}`);
  scrollTo(0, 0);
}

function shell() {
  const who = prose.person();
  const pause = h('button', { class: 'btn ghost small', id: 'pause', onclick: () => { paused = !paused; pause.textContent = paused ? 'Go on' : 'Pause'; } }, 'Pause');
  root.replaceChildren(h('div', { class: 'shell' },
    h('nav', { class: 'side' }, h('div', { class: 'logo' }, icon('chart', 22), 'Harbourmaster'), Object.entries(VIEWS).map(([n, [, i]]) => h('button', { 'data-view': n, onclick: () => show(n) }, icon(i, 18), n[0].toUpperCase() + n.slice(1))), h('div', { class: 'who' }, h('span', { class: 'avatar' }, who.split(' ').map((w) => w[0]).join('')), h('div', null, who, h('br'), h('span', { class: 'faint' }, 'Watch officer')))),
    h('div', { class: 'body' }, h('div', { class: 'bar' }, h('h1', { id: 'title' }), h('span', { class: 'live' }, h('i'), 'live'), h('select', { id: 'span', 'aria-label': 'Span' }, ['Last hour', 'Today', 'This week'].map((t) => h('option', null, t))), pause), h('div', { id: 'view' }))));
  show(location.hash.slice(1) in VIEWS ? location.hash.slice(1) : 'overview');
  const beat = () => {
    if (!paused) view.tick();
    setTimeout(beat, rng.int(450, 1100));
  };
  beat();
}

function login() {
  root.replaceChildren(h('div', { class: 'login' }, h('form', { class: 'card', onsubmit: (e) => { e.preventDefault(); store.set('in', true); shell(); } }, h('h1', null, 'Harbourmaster'), h('p', { class: 'muted' }, 'Sign in to see the port.'), h('label', null, h('span', null, 'E-mail'), h('input', { type: 'email', id: 'user', autocomplete: 'username' })), h('label', null, h('span', null, 'Password'), h('input', { type: 'password', id: 'pass', autocomplete: 'current-password' })), h('button', { class: 'btn wide', id: 'enter' }, icon('lock', 16), 'Sign in'))));
}

if (store.get('in', false)) shell();
else login();
