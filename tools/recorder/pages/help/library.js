// The articles: 240 texts drawn by one fixed seed, and the search over them.
import { Rng } from '/common/rng.js';
import { NOUNS, Prose, VERBS } from '/common/words.js';

export const TOPICS = [['First steps', 'book'], ['Account', 'user'], ['Orders', 'truck'], ['Payments', 'lock'], ['Messages', 'bell'], ['Settings', 'gear']];

function make(i) {
  const p = new Prose(`article ${i}`);
  return { id: i, topic: i % TOPICS.length, title: p.heading(), lead: p.paragraph(2, 5), seed: `body ${i}` };
}

let all = null;
export function articles() {
  if (!all) all = Array.from({ length: 240 }, (_, i) => make(i));
  return all;
}

export function body(a) {
  const r = new Rng(a.seed);
  const p = new Prose(r);
  return Array.from({ length: r.int(4, 13) }, () => ({
    title: p.heading(),
    paragraphs: Array.from({ length: r.int(2, 4) }, () => p.paragraph(3, 6)),
    steps: r.chance(0.5) ? Array.from({ length: r.int(3, 7) }, () => p.sentence()) : null,
    table: r.chance(0.3) ? Array.from({ length: r.int(4, 12) }, () => [r.pick(NOUNS), r.pick(VERBS), p.phrase(), `${r.int(1, 900)}`]) : null,
    code: r.chance(0.25) ? Array.from({ length: r.int(3, 9) }, () => `${r.pick(VERBS)} --${r.pick(NOUNS)} ${r.pick(NOUNS)}=${r.int(1, 99)}`).join('\n') : null,
    note: r.chance(0.35) ? p.sentence() : null,
  }));
}

export function find(words) {
  const ws = words.toLowerCase().split(/\s+/).filter(Boolean);
  return articles().map((a) => ({ a, score: ws.reduce((n, w) => n + (a.title.toLowerCase().includes(w) ? 3 : 0) + (a.lead.toLowerCase().includes(w) ? 1 : 0), 0) })).filter((x) => x.score > 0).sort((x, y) => y.score - x.score).map((x) => x.a);
}
