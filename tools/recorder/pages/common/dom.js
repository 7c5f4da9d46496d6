// A tiny helper to build elements, and the icons and drawings the sites share.
import { Rng } from './rng.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(el, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    el.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return el;
}

export const h = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
export const s = (tag, attrs, ...children) => fill(document.createElementNS(SVG, tag), attrs, children);
export const $ = (sel, root = document) => root.querySelector(sel);
export const $$ = (sel, root = document) => [...root.querySelectorAll(sel)];

const ICONS = {
  cart: 'M3 4h2l2.4 11h10.2L20 7H6.4M9 20.5a1.2 1.2 0 1 0 0-2.4 1.2 1.2 0 0 0 0 2.4zm8 0a1.2 1.2 0 1 0 0-2.4 1.2 1.2 0 0 0 0 2.4z',
  star: 'M12 3l2.7 5.8 6.3.8-4.6 4.4 1.2 6.2L12 17.1 6.4 20.2 7.6 14 3 9.6l6.3-.8z',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L21 21',
  heart: 'M12 20S4 14.6 4 9.2A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.2C20 14.6 12 20 12 20z',
  user: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c1-4 4-5.5 7.5-5.5s6.500 1.500 7.500 5.500',
  truck: 'M2 6h12v10H2zM14 10h4l4 3.500V16h-8zM6 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM17.500 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z',
  leaf: 'M4 20C4 10 10 4 20 4c0 10-6 16-14 14M4 20c2-5 5-8 9-10',
  check: 'M4 12.500l5 5L20 6.500',
  arrow: 'M5 12h14M13 6l6 6-6 6',
  chat: 'M4 5h16v11H9l-5 4z',
  bell: 'M6 17V11a6 6 0 0 1 12 0v6l2 1.500H4zM10 21h4',
  gear: 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2',
  book: 'M4 5c3-1 6-1 8 1 2-2 5-2 8-1v14c-3-1-6-1-8 1-2-2-5-2-8-1zM12 6v14',
  lock: 'M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3',
  chart: 'M4 20V4M4 20h16M8 16v-5M12 16V7M16 16v-3',
};

export function icon(name, size = 20, extra = '') {
  return s('svg', { class: `icon icon-${name} ${extra}`, width: size, height: size, viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'stroke-width': '1.7', 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'aria-hidden': 'true' },
    s('path', { d: ICONS[name] }));
}

export function stars(value, size = 14) {
  const row = h('span', { class: 'stars', 'aria-label': `${value.toFixed(1)} of 5` });
  for (let i = 1; i <= 5; i++) row.append(icon('star', size, i <= Math.round(value) ? 'on' : 'off'));
  return row;
}

// A still life of a few shapes, drawn by the seed: stands for a photograph.
export function art(seed, label, w = 320, hgt = 240, detail = 5) {
  const r = new Rng(`art ${seed}`);
  const hue = r.int(0, 359);
  const col = (d, sat, l) => `hsl(${(hue + d + 360) % 360} ${sat}% ${l}%)`;
  const id = `g${r.hex(7)}`;
  const el = s('svg', { class: 'art', viewBox: `0 0 ${w} ${hgt}`, role: 'img', 'aria-label': label, preserveAspectRatio: 'xMidYMid slice' },
    s('defs', null,
      s('linearGradient', { id, x1: 0, y1: 0, x2: 0, y2: 1 },
        s('stop', { offset: '0', 'stop-color': col(0, 32, 93) }), s('stop', { offset: '1', 'stop-color': col(24, 30, 82) })),
      s('linearGradient', { id: `${id}b`, x1: 0, y1: 0, x2: 1, y2: 1 },
        s('stop', { offset: '0', 'stop-color': col(-12, 48, 58) }), s('stop', { offset: '1', 'stop-color': col(18, 52, 38) }))),
    s('rect', { width: w, height: hgt, fill: `url(#${id})` }),
    s('ellipse', { cx: w / 2, cy: hgt * 0.83, rx: w * 0.36, ry: hgt * 0.06, fill: col(0, 20, 62), opacity: '0.45' }));
  const f = (x) => x.toFixed(1);
  const base = hgt * 0.83;
  const body = r.int(0, 3);
  const bw = w * r.between(0.2, 0.34);
  const bh = hgt * r.between(0.4, 0.6);
  const cx = w / 2;
  if (body === 0) el.append(s('path', { d: `M${f(cx - bw * 0.3)} ${f(base - bh)}h${f(bw * 0.6)}c${f(bw * 0.1)} ${f(bh * 0.35)} ${f(bw * 0.55)} ${f(bh * 0.45)} ${f(bw * 0.3)} ${f(bh)}h${f(-bw * 1.2)}c${f(-bw * 0.25)} ${f(-bh * 0.55)} ${f(bw * 0.2)} ${f(-bh * 0.65)} ${f(bw * 0.3)} ${f(-bh)}z`, fill: `url(#${id}b)` }));
  else if (body === 1) el.append(s('rect', { x: f(cx - bw / 2), y: f(base - bh), width: f(bw), height: f(bh), rx: f(bw * r.between(0.06, 0.4)), fill: `url(#${id}b)` }), s('rect', { x: f(cx - bw * 0.2), y: f(base - bh * 1.14), width: f(bw * 0.4), height: f(bh * 0.15), rx: 4, fill: col(30, 40, 30) }));
  else if (body === 2) el.append(s('circle', { cx: f(cx), cy: f(base - bh * 0.5), r: f(bh * 0.5), fill: `url(#${id}b)` }), s('path', { d: `M${f(cx - bh * 0.1)} ${f(base - bh)}q${f(bh * 0.1)} ${f(-bh * 0.25)} ${f(bh * 0.3)} ${f(-bh * 0.2)}`, stroke: col(30, 40, 30), 'stroke-width': 5, fill: 'none' }));
  else el.append(s('path', { d: `M${f(cx - bw)} ${f(base - bh * 0.5)}h${f(bw * 2)}l${f(-bw * 0.15)} ${f(bh * 0.12)}h${f(-bw * 1.7)}z`, fill: `url(#${id}b)` }), s('path', { d: `M${f(cx - bw * 0.7)} ${f(base - bh * 0.38)}L${f(cx - bw * 0.85)} ${f(base)}M${f(cx + bw * 0.7)} ${f(base - bh * 0.38)}L${f(cx + bw * 0.85)} ${f(base)}`, stroke: col(20, 38, 34), 'stroke-width': 7 }));
  for (let i = 0; i < detail; i++) {
    const x = r.between(w * 0.1, w * 0.9);
    const y = r.between(hgt * 0.12, hgt * 0.75);
    el.append(s('path', { d: `M${f(x)} ${f(y)}q${f(r.between(-20, 20))} ${f(r.between(-24, -6))} ${f(r.between(14, 40))} ${f(r.between(-12, 12))}`, stroke: col(r.int(-30, 60), 30, r.int(50, 74)), 'stroke-width': f(r.between(1, 3.5)), fill: 'none', opacity: '0.6' }));
  }
  return el;
}

export const money = (cents) => `€${Math.floor(cents / 100).toLocaleString('en-GB')}.${String(cents % 100).padStart(2, '0')}`;

export const store = {
  get(key, otherwise) {
    try { return JSON.parse(sessionStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
  },
  set(key, value) {
    try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* storage may be off: the page works on without it */ }
  },
};

// The long view: more products, rows and articles at once. `?long=1` turns it on for the rest of the visit.
export const long = () => {
  if (query('long')) store.set('long', true);
  return store.get('long', false);
};

export const query = (name) => new URLSearchParams(location.search).get(name);
