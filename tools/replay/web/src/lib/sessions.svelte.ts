// The list of sessions of a site: pages by cursor, kept while somebody watches one of them, so that coming back is instant.
import { api, asProblem, type Problem, type Session } from './api';
import { LASTS, type Filters, type Route } from './route';

export const PAGE = 200;
// Rows beyond this are not kept: narrower filters serve better than a list that nobody reads.
export const ROWS_MAX = 250_000;

export class SessionList {
  /** Not deeply reactive: a hundred thousand sessions are plain objects. */
  rows = $state.raw<Session[]>([]);
  next = $state<string | null>(null);
  loading = $state(false);
  complete = $state(false);
  problem = $state<Problem | null>(null);
  selected = $state(0);
  /** The longest session seen: the measure of the length bars. */
  longest = $state(1);
  scroll = 0;
  readonly #q: Record<string, string | number | null>;
  #abort = new AbortController();

  /** Where this list is shown. */
  readonly route: Route;

  constructor(readonly site: string, filters: Filters) {
    this.route = { view: 'sessions', site, filters };
    const from = filters.last ? Date.now() - LASTS[filters.last]! : filters.from;
    this.#q = {
      from, to: filters.last ? null : filters.to, visitor: filters.visitor.trim() || null, min_duration_ms: filters.min || null, kind: filters.kind || null,
      order: filters.order === 'oldest' ? 'oldest' : null, limit: PAGE,
    };
  }

  async more() {
    // A list that was left asks no more: each request would fail at once, and the next one begin, for ever.
    if (this.loading || this.complete || this.problem || this.#abort.signal.aborted) return;
    this.loading = true;
    try {
      const page = await api.sessions(this.site, { ...this.#q, cursor: this.next }, this.#abort.signal);
      this.rows = [...this.rows, ...page.sessions];
      this.next = page.next;
      this.complete = page.next === null || this.rows.length >= ROWS_MAX;
      for (const s of page.sessions) this.longest = Math.max(this.longest, s.duration_ms);
    } catch (error) {
      if (!this.#abort.signal.aborted) this.problem = asProblem(error);
    } finally {
      this.loading = false;
    }
    // A page may be empty while more follow: the filters passed over all of it.
    if (!this.rows.length && !this.complete && !this.problem) await this.more();
  }

  retry() {
    this.problem = null;
    void this.more();
  }

  leave() { this.#abort.abort(); }

  /** Takes out the sessions of an id, which was erased. */
  remove(id: string) {
    this.rows = this.rows.filter((s) => s.id !== id);
    this.selected = Math.min(this.selected, Math.max(0, this.rows.length - 1));
  }

  update(which: Pick<Session, 'id' | 'start_ms'>, change: Partial<Session>) {
    this.rows = this.rows.map((s) => (s.id === which.id && s.start_ms === which.start_ms ? { ...s, ...change } : s));
  }
}

let kept: { key: string; list: SessionList } | null = null;

/** The list for these filters: the one that is there, or a new one. */
export function listFor(site: string, filters: Filters, fresh = false): SessionList {
  const key = JSON.stringify([site, filters]);
  if (!fresh && kept?.key === key) return kept.list;
  kept?.list.leave();
  kept = { key, list: new SessionList(site, filters) };
  return kept.list;
}

export const keptList = (site: string): SessionList | null => (kept?.list.site === site ? kept.list : null);
export function forgetLists() { kept?.list.leave(); kept = null; }
