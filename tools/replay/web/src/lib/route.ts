// The address after `#`: where the page stands. Ids are data: they are encoded, and a session named "audit" is still a session.
// `start` tells sessions of one id apart: an id may be used again two days after a session's start.

export interface Filters { from: number | null; to: number | null; last: string | null; visitor: string; min: number; kind: '' | 'replay' | 'chat'; order: 'newest' | 'oldest' }

export type Route =
  | { view: 'home' }
  | { view: 'status' }
  | { view: 'sessions'; site: string; filters: Filters }
  | { view: 'audit'; site: string }
  | { view: 'session'; site: string; session: string; start: number | null; at: number | null };

export const LASTS: Record<string, number> = { '1h': 3_600_000, '24h': 86_400_000, '7d': 7 * 86_400_000, '30d': 30 * 86_400_000 };

export const noFilters = (): Filters => ({ from: null, to: null, last: null, visitor: '', min: 0, kind: '', order: 'newest' });

// A percent sign that encodes nothing is taken as it stands.
export function decode(text: string): string {
  try { return decodeURIComponent(text); } catch { return text; }
}

// The word "audit" would mean something else. Dots mean nothing behind a `#`.
function encode(id: string): string {
  if (id === 'audit') return '%61udit';
  return encodeURIComponent(id);
}

const whole = (text: string | null) => (text && /^\d{1,16}$/.test(text) ? Number(text) : null);

export function parse(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
  const parts = path.split('/').filter(Boolean);
  const q = new URLSearchParams(query);
  if (parts[0] === 'status') return { view: 'status' };
  if (parts[0] !== 's' || !parts[1]) return { view: 'home' };
  const site = decode(parts[1]);
  if (parts[2] === 'audit') return { view: 'audit', site };
  if (parts[2]) return { view: 'session', site, session: decode(parts[2]), start: whole(q.get('start')), at: whole(q.get('t')) };
  const last = q.get('last');
  const kind = q.get('kind');
  return {
    view: 'sessions',
    site,
    filters: {
      from: whole(q.get('from')), to: whole(q.get('to')), last: last && last in LASTS ? last : null, visitor: q.get('visitor') ?? '', min: whole(q.get('min')) ?? 0,
      kind: kind === 'replay' || kind === 'chat' ? kind : '', order: q.get('order') === 'oldest' ? 'oldest' : 'newest',
    },
  };
}

export function format(route: Route): string {
  switch (route.view) {
    case 'home': return '#/';
    case 'status': return '#/status';
    case 'audit': return `#/s/${encodeURIComponent(route.site)}/audit`;
    case 'session': {
      const q = new URLSearchParams();
      if (route.at !== null) q.set('t', String(route.at));
      if (route.start !== null) q.set('start', String(route.start));
      const text = q.toString();
      return `#/s/${encodeURIComponent(route.site)}/${encode(route.session)}${text ? `?${text}` : ''}`;
    }
    case 'sessions': {
      const q = new URLSearchParams();
      const f = route.filters;
      if (f.last) q.set('last', f.last);
      if (f.from !== null) q.set('from', String(f.from));
      if (f.to !== null) q.set('to', String(f.to));
      if (f.visitor) q.set('visitor', f.visitor);
      if (f.min) q.set('min', String(f.min));
      if (f.kind) q.set('kind', f.kind);
      if (f.order !== 'newest') q.set('order', f.order);
      const text = q.toString();
      return `#/s/${encodeURIComponent(route.site)}${text ? `?${text}` : ''}`;
    }
  }
}
