// The state of the mock: sites, sessions, what was erased, the audit log.
import { corpusSites, manySessions } from './corpus.mjs';
import { hostileSessions } from './hostile.mjs';
import { People } from './people.mjs';

const MANY = 100_000;

export class World {
  constructor({ outside, links, dist }) {
    this.dist = dist;
    this.sites = corpusSites();
    const shop = this.sites.get('shop.example');
    const source = shop.find((s) => s.kind === 'replay');
    this.sites.set('hostile.example', hostileSessions(outside, source.start_ms));
    this.sites.set('empty.example', []);
    // In the list, but gone when it is opened; and one that comes as slowly as over a bad line.
    shop.push({ ...source, id: 's-expired-just-now', gone: true, visitor: 'v-gone', start_ms: source.start_ms - 60_000 });
    const large = shop.filter((s) => s.kind === 'replay').sort((a, b) => b.raw_bytes - a.raw_bytes)[0];
    shop.push({ ...large, id: 's-slow-line', visitor: 'v-slow', slow: true, start_ms: large.start_ms - 120_000 });
    // As if it were too large to load whole: the page must fetch windows of it.
    shop.push({ ...large, id: 's-whale', visitor: 'v-whale', raw_bytes: 480 * 1024 * 1024, start_ms: large.start_ms - 180_000 });
    // The same with one snapshot only: its windows overlap.
    const dash = this.sites.get('dash.example');
    dash.push({ ...dash.find((s) => s.id === 's-e925f3bf1e16c5f1'), id: 's-whale', raw_bytes: 480 * 1024 * 1024 });
    this.many = () => (this.manyMade ??= manySessions(MANY, source));
    this.people = new People([...this.sites.keys(), 'many.example'], links);
    this.audit = [];
    this.requests = [];
  }

  has(site) { return site === 'many.example' || this.sites.has(site); }
  sessions(site) { return site === 'many.example' ? this.many() : this.sites.get(site); }
  find(site, id) { return this.sessions(site).find((s) => s.id === id); }

  note(site, who, action, session, outcome) {
    this.audit.push({ site, number: this.audit.length + 1, at_ms: Date.now(), who, action, session, outcome, address: '127.0.0.1' });
  }
}
