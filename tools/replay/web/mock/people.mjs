// Who may sign in to the mock, and to what; and the cookies they hold.
import { randomBytes } from 'node:crypto';

const ALL = ['viewer', 'exporter', 'admin', 'auditor'];
const everywhere = (sites, roles) => sites.map((id) => ({ id, roles }));

// One password for all: these are no secrets, the mock listens on loopback only.
export const PASSWORD = 'correct horse';
const TRIES_MAX = 5;
const TRIES_WINDOW_MS = 30_000;

export class People {
  #sessions = new Map();
  #tries = new Map();

  constructor(sites, links) {
    this.links = new Set(links);
    this.users = new Map([
      ['ada', { name: 'Ada Lindqvist', sites: everywhere(sites, ALL) }],
      ['vera', { name: 'Vera', sites: everywhere(['shop.example'], ['viewer']) }],
      ['emil', { name: 'Emil', sites: everywhere(['shop.example', 'help.example'], ['viewer', 'exporter']) }],
      ['otto', { name: 'Otto', sites: everywhere(['shop.example'], ['auditor']) }],
      ['nora', { name: 'Nora', sites: [] }],
    ]);
  }

  // Seconds to wait, or 0.
  throttled(user) {
    const tries = (this.#tries.get(user) ?? []).filter((t) => t > Date.now() - TRIES_WINDOW_MS);
    return tries.length >= TRIES_MAX ? Math.ceil((tries[0] + TRIES_WINDOW_MS - Date.now()) / 1000) : 0;
  }

  byPassword(user, password) {
    if (this.users.has(user) && password === PASSWORD) return this.#begin(user);
    this.#tries.set(user, [...(this.#tries.get(user) ?? []), Date.now()].slice(-TRIES_MAX));
    return null;
  }

  byLink(token) { return this.links.delete(token) ? this.#begin('ada') : null; }
  byIssuer() { return this.#begin('emil'); }

  #begin(user) {
    const cookie = randomBytes(16).toString('hex');
    this.#sessions.set(cookie, { user, expires_ms: Date.now() + 8 * 3_600_000 });
    return cookie;
  }

  who(cookie) {
    const s = this.#sessions.get(cookie);
    return s ? { user: s.user, expires_ms: s.expires_ms, ...this.users.get(s.user) } : null;
  }

  end(cookie) { this.#sessions.delete(cookie); }
}
