// The views of the dashboard: overview, fleet, log, settings.
import { $, $$, h, icon, long, query, s } from '/common/dom.js';
import { cap } from '/common/words.js';
import { barChart, berths, lineChart, radar, ring } from './charts.js';
import { STATES, STATE_NAMES, clock, fleet, logLine, prose, rng, ship } from './model.js';

const panel = (title, note, ...kids) => h('section', { class: 'card panel' }, h('h3', null, title, h('small', null, note)), kids);

function spark(values) {
  return s('svg', { class: 'spark', viewBox: '0 0 90 22' }, s('polyline', { fill: 'none', stroke: '#3557c9', 'stroke-width': 1.5, points: values.map((v, i) => `${i * 6},${(21 - v).toFixed(1)}`).join(' ') }));
}

function drawer(x) {
  $('.drawer')?.remove();
  const note = h('textarea', { rows: 3, class: 'note', placeholder: 'Note for the watch' });
  const el = h('aside', { class: 'drawer' }, h('div', { class: 'bar' }, h('h1', null, x.name), h('button', { class: 'btn ghost small close', onclick: () => el.remove() }, 'Close')),
    h('dl', null, [['Number', x.id], ['From', x.from], ['To', x.to], ['State', STATE_NAMES[x.state]], ['Master', x.master], ['Crew', x.crew], ['Load', `${x.load} %`], ['Speed', `${x.speed.toFixed(1)} kn`]].map(([a, b]) => [h('dt', null, a), h('dd', null, b)])),
    h('h3', { class: 'u-mt-6' }, 'Journal'), Array.from({ length: 9 }, () => h('p', null, h('b', null, `${prose.date()}: `), prose.paragraph(1, 3))),
    note, h('button', { class: 'btn small u-mt-3 save', onclick: () => { if (note.value) { note.before(h('p', null, h('b', null, 'Now: '), note.value)); note.value = ''; } } }, 'Save note'));
  document.body.append(el);
}

function fleetTable(limit) {
  const head = ['Number', 'Name', 'From', 'To', 'State', 'Speed', 'Load', 'Fuel', 'Arrives in', 'Trend', 'Master'];
  const body = h('tbody');
  const live = new Map();
  const filter = { text: '', state: '', by: 0, turn: 1 };
  const keys = ['id', 'name', 'from', 'to', 'state', 'speed', 'load', 'fuel', 'eta', 'id', 'master'];
  const row = (x, fresh) => {
    const c = { speed: h('td', { class: 'num' }, x.speed.toFixed(1)), load: h('td', { class: 'num' }, `${x.load} %`), fuel: h('td', { class: 'num' }, `${x.fuel} %`), eta: h('td', { class: 'num' }, clock(x.eta)) };
    const el = h('tr', { class: fresh ? 'fresh' : '', 'data-id': x.id, onclick: () => drawer(x) }, h('td', null, x.id), h('td', null, h('b', null, x.name)), h('td', null, x.from), h('td', null, x.to), h('td', null, h('span', { class: `dot ${x.state}` }), STATE_NAMES[x.state]), c.speed, c.load, c.fuel, c.eta, h('td', null, spark(x.trail)), h('td', null, x.master));
    live.set(x, { el, c });
    return el;
  };
  const draw = () => {
    live.clear();
    const k = keys[filter.by];
    const list = fleet.filter((x) => (!filter.state || x.state === filter.state) && `${x.name} ${x.from} ${x.to}`.toLowerCase().includes(filter.text)).sort((a, b) => (a[k] > b[k] ? 1 : -1) * filter.turn).slice(0, limit);
    body.replaceChildren(...list.map((x) => row(x)));
  };
  draw();
  const chips = h('div', { class: 'tools' }, h('input', { type: 'search', id: 'find', placeholder: 'Filter by name or port', oninput: (e) => { filter.text = e.target.value.toLowerCase(); draw(); } }),
    ['', ...STATES].map((st) => h('button', { class: `chip ${st ? '' : 'on'}`, onclick: (e) => { $$('.chip', chips).forEach((b) => b.classList.remove('on')); e.currentTarget.classList.add('on'); filter.state = st; draw(); } }, st ? STATE_NAMES[st] : 'All')));
  const table = h('table', { class: 'data' }, h('thead', null, h('tr', null, head.map((t, i) => h('th', { onclick: () => { filter.turn = filter.by === i ? -filter.turn : 1; filter.by = i; draw(); } }, t)))), body);
  return {
    el: [chips, table],
    tick() {
      const all = [...live.keys()];
      for (let i = 0; i < 6 && all.length; i++) {
        const x = rng.pick(all);
        const cells = live.get(x).c;
        x.speed = Math.max(0, x.speed + rng.normal());
        x.eta = Math.max(0, x.eta - rng.int(1, 3));
        cells.speed.firstChild.data = x.speed.toFixed(1);
        cells.eta.firstChild.data = clock(x.eta);
      }
      if (rng.chance(0.12)) {
        const x = ship();
        fleet.unshift(x);
        fleet.pop();
        $$('.fresh', body).forEach((t) => t.classList.remove('fresh'));
        if (!filter.text && !filter.state) {
          body.prepend(row(x, true));
          if (body.rows.length > limit) body.lastChild.remove();
        }
      }
    },
  };
}

function kpis() {
  const names = ['Ships at sea', 'Berths taken', 'Tonnes today', 'Mean delay', 'Calls per hour'];
  const values = names.map(() => rng.int(20, 4000));
  const out = values.map((v) => h('div', { class: 'value' }, v.toLocaleString('en-GB')));
  const deltas = values.map(() => h('div', { class: 'delta up' }, '+0.0 %'));
  return {
    el: h('div', { class: 'kpis' }, names.map((n, i) => h('div', { class: 'card kpi' }, h('div', { class: 'name' }, n), out[i], deltas[i]))),
    tick() {
      const i = rng.int(0, names.length - 1);
      const d = rng.normal() * 1.4;
      values[i] = Math.max(1, Math.round(values[i] * (1 + d / 100)));
      out[i].textContent = values[i].toLocaleString('en-GB');
      deltas[i].textContent = `${d >= 0 ? '+' : '−'}${Math.abs(d).toFixed(1)} %`;
      deltas[i].className = `delta ${d >= 0 ? 'up' : 'down'}`;
    },
  };
}

export function overview() {
  const parts = [kpis(), lineChart(['Inbound', 'Outbound', 'Waiting']), barChart(9), ring(['On time', 'Delayed', 'Stopped', 'Docked']), berths(), lineChart(['Wind', 'Swell'], 620, 180), fleetTable(long() ? 80 : 32)];
  const [k, line, bars, pie, map, weather, table] = parts;
  const extra = query('canvas') ? radar() : null;
  if (extra) parts.push(extra);
  return {
    title: 'Overview',
    el: [k.el, h('div', { class: 'charts' }, panel('Traffic', 'last minute', line.el), panel('Quays', 'ships per quay', bars.el), panel('Punctuality', 'all ships', pie.el)),
      h('div', { class: 'charts' }, panel('Weather', 'in the roads', weather.el), panel('Berths', 'taken', map.el), extra ? panel('Radar', 'canvas', extra.el) : panel('Watch', 'on duty', Array.from({ length: 6 }, () => h('p', null, h('b', null, prose.person()), h('br'), h('span', { class: 'faint' }, cap(prose.phrase())))))),
      panel('Arrivals', 'live', table.el)],
    tick: () => parts.forEach((p) => rng.chance(0.6) && p.tick()),
  };
}

export function fleetView() {
  const t = fleetTable(90);
  return { title: 'Fleet', el: [panel('All ships', `${fleet.length} in sight`, t.el)], tick: () => t.tick() };
}

export function logView() {
  const box = h('div', { class: 'log', style: 'height:520px' });
  const add = () => { const l = logLine(); box.append(h('p', { class: `lv-${l.level}` }, l.text)); if (box.childElementCount > 160) box.firstChild.remove(); box.scrollTop = box.scrollHeight; };
  for (let i = 0; i < 90; i++) add();
  const c = lineChart(['Lines', 'Warnings', 'Errors', 'Retries'], 900, 180);
  return { title: 'Log', el: [panel('Volume', 'per second', c.el), h('div', { class: 'u-mt-4' }, box)], tick: () => { add(); if (rng.chance(0.5)) add(); if (rng.chance(0.4)) c.tick(); } };
}

export function settings() {
  const f = (t, n, type = 'text', more = {}) => h('label', null, h('span', null, t), h('input', { type, name: n, id: n, ...more }));
  return { title: 'Settings', el: [h('form', { class: 'card settings', onsubmit: (e) => { e.preventDefault(); $('#saved').textContent = 'Saved.'; } }, h('h2', null, 'Your settings'), h('div', { class: 'row' }, f('Shown name', 'shown'), f('E-mail', 'mail', 'email')), f('Old password', 'old', 'password'), f('New password', 'new', 'password'), f('Access key of the port office', 'officekey', 'text', { 'data-private': '' }), h('label', null, h('span', null, 'About you'), h('textarea', { id: 'about', rows: 4 })), h('button', { class: 'btn' }, icon('check', 16), 'Save'), h('p', { id: 'saved', class: 'muted' }, ''), h('h3', null, 'Help'), Array.from({ length: 4 }, () => h('p', { class: 'faint' }, prose.paragraph())))], tick() {} };
}

