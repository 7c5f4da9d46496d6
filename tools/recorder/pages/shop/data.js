// The catalogue: 480 products drawn by one fixed seed, so that every visitor sees the same shop.
import { Rng } from '/common/rng.js';
import { ADJECTIVES, COLOURS, MATERIALS, Prose, THINGS, cap } from '/common/words.js';

export const CATEGORIES = ['Kitchen', 'Table', 'Living room', 'Bedroom', 'Study', 'Garden', 'Travel', 'Light', 'Storage', 'Gifts'];
export const HUES = { charcoal: '#3b3f45', ivory: '#f3ecdc', moss: '#6d7d4f', rust: '#b0552f', sand: '#d8c39c', navy: '#27395a', plum: '#6b3b5c', teal: '#2f7b78', clay: '#b57a5a', fog: '#c3c9cf', ochre: '#c98d2b', berry: '#9b2f4e', pine: '#2f5b46', coral: '#e0785f', stone: '#9a948a', ink: '#20242c' };

function make(i) {
  const r = new Rng(`product ${i}`);
  const thing = r.pick(THINGS);
  const price = r.int(9, 240) * 100 - r.pick([1, 5, 10, 50]);
  return {
    id: i,
    name: `${cap(r.pick(ADJECTIVES))} ${r.pick(MATERIALS)} ${thing}`,
    category: r.pick(CATEGORIES),
    price,
    was: r.chance(0.22) ? Math.round(price * r.between(1.15, 1.5)) : 0,
    rating: r.between(3.1, 5),
    reviews: r.int(3, 412),
    stock: r.int(0, 60),
    colours: r.some(COLOURS, r.int(2, 5)),
    isNew: r.chance(0.15),
    eco: r.chance(0.3),
    line: new Prose(r).clause(),
  };
}

let all = null;
export function products() {
  if (!all) all = Array.from({ length: 480 }, (_, i) => make(i));
  return all;
}
export const product = (id) => products()[Math.min(479, Math.max(0, Number(id) || 0))];
