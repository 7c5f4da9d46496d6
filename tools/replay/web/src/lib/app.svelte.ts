// What the whole page shares: who is signed in, where it stands, how it looks, what it says.
import { api, whenSignedOut, type Me, type Problem, type Role, type Site, asProblem } from './api';
import { forgetLists } from './sessions.svelte';
import { decode, format, noFilters, parse, type Route } from './route';

export type Theme = 'auto' | 'light' | 'dark';
const THEMES: Theme[] = ['auto', 'light', 'dark'];
const TOAST_MS = 5_000;

// Storage may be forbidden; the page does without.
function stored(name: string): string | null {
  try { return localStorage.getItem(name); } catch { return null; }
}
function store(name: string, value: string) {
  try { localStorage.setItem(name, value); } catch { /* kept for this visit only */ }
}

class App {
  me = $state<Me | null>(null);
  /** Until the first answer about who is signed in. */
  starting = $state(true);
  problem = $state<Problem | null>(null);
  /** Why the sign-in is shown, when that is not plain. */
  signInNote = $state('');
  route = $state<Route>(parse(location.hash));
  theme = $state<Theme>(THEMES.find((t) => t === stored('reelvault theme')) ?? 'auto');
  toasts = $state<{ id: number; text: string; bad: boolean }[]>([]);
  help = $state(false);
  #toast = 0;

  constructor() {
    addEventListener('hashchange', () => {
      if (this.#takeLink()) return;
      this.route = parse(location.hash);
      if ('site' in this.route) store('reelvault site', this.route.site);
      if (this.route.view === 'home' && this.me) this.goHome();
    });
    whenSignedOut(() => {
      if (!this.me) return;
      this.me = null;
      // What was listed, or refused, was for who was signed in.
      forgetLists();
      this.signInNote = 'Your session has ended. Sign in to go on where you were.';
    });
  }

  get site(): Site | null {
    const route = this.route;
    return 'site' in route ? this.#known(route.site) : null;
  }

  /** The site of the header: where we are, or were before looking at the status. */
  get around(): Site | null {
    return this.site ?? ('site' in this.route ? null : (this.#known(stored('reelvault site')) ?? this.me?.sites[0] ?? null));
  }

  #known(id: string | null): Site | null { return this.me?.sites.find((s) => s.id === id) ?? null; }

  may(role: Role): boolean { return this.site?.roles.includes(role) ?? false; }

  async begin() {
    if (this.#takeLink()) return;
    await this.whoAmI();
  }

  // A one-time link leaves the address bar before anything else happens, and is used once.
  #takeLink(): boolean {
    const token = /^#link=(.+)$/.exec(location.hash)?.[1];
    if (!token) return false;
    history.replaceState(null, '', '#/');
    this.route = { view: 'home' };
    this.starting = true;
    api.link(decode(token)).then(
      () => this.whoAmI(),
      (error: unknown) => {
        const problem = asProblem(error);
        this.signInNote = problem.status === 401 ? 'This sign-in link was used before, or is too old.' : problem.message;
        return this.whoAmI();
      },
    );
    return true;
  }

  async whoAmI() {
    this.problem = null;
    try {
      this.me = await api.me();
      this.signInNote = '';
      if (this.route.view === 'home') this.goHome();
    } catch (error) {
      const problem = asProblem(error);
      this.me = null;
      if (problem.status !== 401) this.problem = problem;
    } finally {
      this.starting = false;
    }
  }

  async signOut() {
    try { await api.logout(); } catch (error) { this.say(asProblem(error).message, true); return; }
    this.me = null;
    forgetLists();
    this.signInNote = '';
    this.go({ view: 'home' });
  }

  goHome() {
    const site = this.#known(stored('reelvault site')) ?? this.me?.sites[0];
    if (site) this.replace(this.first(site));
  }

  /** Where a site is entered: an auditor who may not watch begins with the log. */
  first(site: Site): Route {
    if (site.roles.includes('viewer') || !site.roles.includes('auditor')) return { view: 'sessions', site: site.id, filters: noFilters() };
    return { view: 'audit', site: site.id };
  }

  go(route: Route) {
    location.hash = format(route);
  }

  /** The same place told more exactly: no new entry in the history. */
  replace(route: Route) {
    history.replaceState(null, '', format(route));
    this.route = route;
  }

  setTheme(theme: Theme) {
    this.theme = theme;
    store('reelvault theme', theme);
  }

  say(text: string, bad = false) {
    const id = ++this.#toast;
    this.toasts = [...this.toasts.slice(-2), { id, text, bad }];
    setTimeout(() => { this.toasts = this.toasts.filter((t) => t.id !== id); }, TOAST_MS);
  }
}

export const app = new App();
