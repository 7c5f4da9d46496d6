// Draws, from one seed, who visits which site, for how long, and how it is recorded.
import { Rng } from '../pages/common/rng.js';
import { CARDS, KEYS, PASSWORDS } from './secrets.mjs';
import { Prose } from '../pages/common/words.js';

const AGENTS = [
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/151.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0',
];
const SCREENS = [[1280, 800], [1440, 900], [1366, 768], [1536, 864], [1024, 768]];

export const drawInterval = (r) => {
  const p = r.next();
  return p < 0.6 ? 5000 : p < 0.85 ? 2000 : 30000;
};

export function makePlan({ seed, sessions, canvasShare, longShare = 0, minSeconds = 30, maxSeconds = 150 }) {
  const r = new Rng(`plan ${seed}`);
  const sites = r.shuffle(Array.from({ length: sessions }, (_, i) => (i % 10 < 4 ? 'shop' : i % 10 < 7 ? 'dash' : 'help')));
  const dash = sites.map((s, i) => (s === 'dash' ? i : -1)).filter((i) => i >= 0);
  const canvas = new Set(r.some(dash, Math.min(dash.length, Math.round(sessions * canvasShare))));
  const known = { shop: [], dash: [], help: [] };
  let helps = 0;
  return sites.map((site, i) => {
    const back = known[site].length > 1 && r.chance(0.3);
    const visitor = back ? r.pick(known[site]) : { id: `v-${r.hex(12)}`, agent: r.pick(AGENTS), screen: r.pick(SCREENS), name: new Prose(r).person(), card: r.pick(CARDS), password: r.pick(PASSWORDS), key: r.pick(KEYS) };
    if (!back) known[site].push(visitor);
    const chat = site === 'help' && helps++ % 4 !== 3;
    let length = Math.min(maxSeconds, Math.max(minSeconds, 72 * Math.exp(0.45 * r.normal())));
    if (chat) length = Math.min(maxSeconds, length + 35);
    return {
      index: i,
      site: `${site}.example`,
      session: `s-${r.hex(16)}`,
      visitor,
      interval: drawInterval(r),
      checkout: r.pick([30_000, 45_000, 300_000, 300_000]),
      windows: site !== 'dash' && !chat && r.chance(0.3) ? 2 : 1,
      canvas: canvas.has(i),
      long: new Rng(`long ${seed} ${i}`).chance(longShare),
      chat,
      length: Math.round(length * 1000),
      pace: Math.exp(0.3 * r.normal()),
      seed: `${seed} ${i} ${r.hex(8)}`,
    };
  });
}
