// Gives a copied session its own words, numbers and mouse track, so that copies differ as sessions do.
import { ADJECTIVES, ADVERBS, COLOURS, FAMILY, GIVEN, LINKS, MATERIALS, NOUNS, PLACES, THINGS, VERBS } from '../pages/common/words.js';

const CLASSES = [ADJECTIVES, MATERIALS, THINGS, NOUNS, VERBS, ADVERBS, LINKS, COLOURS, GIVEN, FAMILY, PLACES].map((l) => l.map((w) => w.toLowerCase()));

const TEXT = /"(textContent|text|value|title|alt|aria-label|placeholder)":"((?:[^"\\]|\\.)+)"/g;
const SHAPE = /"(?:d|points)":"[^"]+"/g;
const WORD = /\\.|[A-Za-z]{2,}|\d/g;
const POINT = /"(x|y)":(\d+)/g;

// Parts of the reserved host names: an address in a copy must stay one that nobody owns.
const KEEP = ['example', 'mail'];

const capital = (w) => w.charAt(0).toUpperCase() + w.slice(1);

export class Substitute {
  constructor(rng) {
    this.rng = rng;
    this.words = new Map();
    // A word that stands in several lists keeps the first substitute it gets.
    for (const list of CLASSES) {
      const other = rng.shuffle(list);
      list.forEach((w, i) => { if (!this.words.has(w)) this.words.set(w, other[i]); });
    }
    for (const w of KEEP) this.words.delete(w);
    this.word = this.word.bind(this);
    this.seed = Math.floor(rng.next() * 4294967296) >>> 0;
  }

  digit() {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0;
    return ((this.seed >>> 16) * 10) >>> 16;
  }

  word(w) {
    if (w.length === 1) return w === '0' ? w : String(1 + (this.digit() % 9));
    const first = w.charCodeAt(0);
    if (first === 92) return w;
    const small = w.toLowerCase();
    const other = this.words.get(small);
    if (!other) return w;
    return first < 97 ? (w.length > 1 && w === w.toUpperCase() ? other.toUpperCase() : capital(other)) : other;
  }

  text(s) {
    return s.replace(WORD, this.word);
  }

  // One event line. The form of the JSON stays as it is: only letters and digits inside strings change,
  // and the positions of the mouse by a few pixels.
  event(line) {
    let out = line.replace(TEXT, (all, key, value) => (value.includes('{') || value.charCodeAt(0) === 42 ? all : `"${key}":"${this.text(value)}"`));
    out = out.replace(SHAPE, (all) => all.replace(/\.\d/g, () => `.${this.digit()}`));
    if (out.startsWith('{"type":3,"data":{"source":1,')) {
      out = out.replace(POINT, (_, axis, n) => `"${axis}":${Math.max(0, Number(n) - 4 + this.digit())}`);
    }
    return out;
  }
}
