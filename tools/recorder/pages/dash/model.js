// The made-up fleet behind the dashboard: ships, berths, numbers that move.
import { Rng } from '/common/rng.js';
import { ADJECTIVES, NOUNS, PLACES, Prose, cap } from '/common/words.js';

export const rng = new Rng(`dash ${new URLSearchParams(location.search).get('v') || Math.random()}`);
export const prose = new Prose(rng);
export const STATES = ['ok', 'slow', 'off'];
export const STATE_NAMES = { ok: 'On time', slow: 'Delayed', off: 'Stopped' };

let next = 1000;
export function ship() {
  next += 1;
  return {
    id: `HM-${next}`,
    name: `${cap(rng.pick(ADJECTIVES))} ${cap(rng.pick(NOUNS))}`,
    from: rng.pick(PLACES),
    to: rng.pick(PLACES),
    state: rng.pick(['ok', 'ok', 'ok', 'slow', 'slow', 'off']),
    speed: rng.between(4, 24),
    load: rng.int(5, 100),
    fuel: rng.int(8, 100),
    crew: rng.int(6, 32),
    eta: rng.int(5, 900),
    trail: Array.from({ length: 16 }, () => rng.between(2, 20)),
    master: prose.person(),
  };
}

export const fleet = Array.from({ length: 90 }, ship);

export const series = (n, lo, hi) => {
  const out = [];
  let v = rng.between(lo, hi);
  for (let i = 0; i < n; i++) {
    v = Math.min(hi, Math.max(lo, v + rng.normal() * (hi - lo) * 0.07));
    out.push(v);
  }
  return out;
};

export const clock = (minutes) => `${Math.floor(minutes / 60)} h ${String(Math.round(minutes) % 60).padStart(2, '0')} min`;

export function logLine() {
  const level = rng.pick(['info', 'info', 'info', 'info', 'warn', 'error']);
  const s = rng.pick(fleet);
  return { level, text: `${new Date().toISOString().slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${s.id} ${prose.clause()} code=${rng.int(100, 599)} wait=${rng.int(1, 900)}ms` };
}
