// SVG charts whose paths and bars change in place, and one canvas chart.
import { h, s } from '/common/dom.js';
import { prose, rng, series } from './model.js';

const INK = ['#3557c9', '#e08a3c', '#3a9d78', '#b34a7d', '#7a6bd1'];

export function lineChart(lines, w = 620, hgt = 220) {
  const data = lines.map(() => series(60, 10, 100));
  const x = (i) => (36 + (i * (w - 46)) / 59).toFixed(1);
  const y = (v) => (hgt - 24 - (v * (hgt - 40)) / 110).toFixed(1);
  const path = (d) => d.map((v, i) => `${i ? 'L' : 'M'}${x(i)} ${y(v)}`).join('');
  const el = s('svg', { class: 'chart', viewBox: `0 0 ${w} ${hgt}` });
  for (let v = 0; v <= 100; v += 25) el.append(s('line', { class: 'grid', x1: 36, x2: w - 10, y1: y(v), y2: y(v) }), s('text', { x: 6, y: y(v) }, v));
  for (let i = 0; i < 60; i += 10) el.append(s('text', { x: x(i), y: hgt - 6 }, `${60 - i} s`));
  const paths = data.map((d, i) => s('path', { d: path(d), fill: 'none', stroke: INK[i % 5], 'stroke-width': 2, 'stroke-linejoin': 'round' }));
  el.append(...paths);
  return {
    el: h('div', null, el, h('div', { class: 'legend' }, lines.map((t, i) => h('span', null, h('i', { style: `background:${INK[i % 5]}` }), t)))),
    tick() {
      data.forEach((d, i) => {
        d.shift();
        d.push(Math.min(100, Math.max(4, d[d.length - 1] + rng.normal() * 6)));
        paths[i].setAttribute('d', path(d));
      });
    },
  };
}

export function barChart(n, w = 300, hgt = 220) {
  const el = s('svg', { class: 'chart', viewBox: `0 0 ${w} ${hgt}` });
  const bars = Array.from({ length: n }, (_, i) => {
    const v = rng.between(20, 180);
    const b = s('rect', { class: 'bar-v', x: (10 + (i * (w - 20)) / n).toFixed(1), y: (hgt - 20 - v).toFixed(1), width: ((w - 20) / n - 4).toFixed(1), height: v.toFixed(1), rx: 3, fill: INK[i % 5] });
    el.append(b, s('text', { x: (12 + (i * (w - 20)) / n).toFixed(1), y: hgt - 6 }, i + 1));
    return b;
  });
  return {
    el,
    tick() {
      const b = rng.pick(bars);
      const v = rng.between(20, 180);
      b.setAttribute('height', v.toFixed(1));
      b.setAttribute('y', (hgt - 20 - v).toFixed(1));
    },
  };
}

export function ring(names, size = 200) {
  const el = s('svg', { class: 'chart', viewBox: `0 0 ${size} ${size}` });
  const parts = names.map(() => rng.between(1, 5));
  const arcs = names.map((_, i) => s('path', { fill: 'none', stroke: INK[i % 5], 'stroke-width': 26 }));
  const mid = s('text', { x: size / 2, y: size / 2 + 4, 'text-anchor': 'middle' }, '');
  el.append(...arcs, mid);
  const draw = () => {
    const sum = parts.reduce((a, b) => a + b, 0);
    let at = 0;
    const pt = (t) => `${(size / 2 + Math.sin(t * Math.PI * 2) * size * 0.36).toFixed(2)} ${(size / 2 - Math.cos(t * Math.PI * 2) * size * 0.36).toFixed(2)}`;
    parts.forEach((p, i) => {
      const to = at + p / sum;
      arcs[i].setAttribute('d', `M${pt(at)}A${size * 0.36} ${size * 0.36} 0 ${p / sum > 0.5 ? 1 : 0} 1 ${pt(to - 0.004)}`);
      at = to;
    });
    mid.textContent = `${Math.round((100 * parts[0]) / sum)} %`;
  };
  draw();
  return {
    el: h('div', null, el, h('div', { class: 'legend' }, names.map((t, i) => h('span', null, h('i', { style: `background:${INK[i % 5]}` }), t)))),
    tick() {
      const i = rng.int(0, parts.length - 1);
      parts[i] = Math.max(0.4, parts[i] + rng.normal() * 0.4);
      draw();
    },
  };
}

export function berths(cols = 16, rows = 12) {
  const cells = [];
  const el = s('svg', { class: 'chart', viewBox: `0 0 ${cols * 20} ${rows * 20}` });
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < cols; x++) {
      const c = s('rect', { x: x * 20 + 1, y: y * 20 + 1, width: 18, height: 18, rx: 4, fill: `hsl(225 60% ${rng.int(40, 92)}%)` }, s('title', null, `Berth ${y + 1}-${x + 1}: ${prose.phrase()}`));
      cells.push(c);
      el.append(c);
    }
  }
  return { el, tick() { for (let i = 0; i < 5; i++) rng.pick(cells).setAttribute('fill', `hsl(225 60% ${rng.int(40, 92)}%)`); } };
}

// The radar: drawn on a canvas, so only sessions that record canvases show it.
export function radar() {
  const el = h('canvas', { width: 320, height: 150, id: 'radar' });
  const c = el.getContext('2d');
  const dots = Array.from({ length: 40 }, () => ({ a: rng.between(0, 6.28), d: rng.between(10, 70), v: rng.normal() * 0.02 }));
  let sweep = 0;
  return {
    el,
    tick() {
      sweep += 0.25;
      c.fillStyle = 'rgb(14 21 38 / 35%)';
      c.fillRect(0, 0, 320, 150);
      c.strokeStyle = '#27406f';
      for (let r = 20; r <= 80; r += 20) { c.beginPath(); c.arc(160, 75, r, 0, 6.29); c.stroke(); }
      c.strokeStyle = '#5ad0a0';
      c.beginPath();
      c.moveTo(160, 75);
      c.lineTo(160 + Math.cos(sweep) * 80, 75 + Math.sin(sweep) * 80);
      c.stroke();
      for (const p of dots) {
        p.a += p.v;
        c.fillStyle = Math.abs(((sweep - p.a) % 6.28) - 0.3) < 0.5 ? '#c8ffe4' : '#4f8f7a';
        c.fillRect(160 + Math.cos(p.a) * p.d * 1.8, 75 + Math.sin(p.a) * p.d, 3, 3);
      }
    },
  };
}
