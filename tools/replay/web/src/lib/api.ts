// The service's interface, as typed calls. Every failure is a `Problem` that says what a person can do.
import { readLines } from './ndjson';

export type Role = 'viewer' | 'exporter' | 'admin' | 'auditor';
export interface Site { id: string; roles: Role[]; retention_days?: number }
export interface Me { name: string; sites: Site[]; expires_ms: number }
export interface Methods { local: boolean; oidc: { id: string; name: string }[] }

export interface Session {
  id: string; visitor: string | null; kind: 'replay' | 'chat'; start_ms: number; first_ms: number; last_ms: number; duration_ms: number; events: number; chunks: number;
  raw_bytes: number; snapshots: number; missing_chunks: number; expires_on: string; held: boolean; attributes: Record<string, string>;
}
// A gap's times are told where the service knows them.
export interface Gap { after_seq: number; missing: number; after_ms?: number; before_ms?: number }
export interface Detail extends Session { snapshot_times: number[]; gaps: Gap[]; hold: { since_ms: number; reason: string } | null }
export interface Message { at_ms: number; from: string; text: string }
export interface AuditRecord { number: number; at_ms: number; who: string; action: string; session: string | null; outcome: string; address: string }
export type State = 'ok' | 'degraded' | 'down';
export interface Incident { id: string; kind: string; opened_ms: number; closed_ms: number | null; summary: string }
export interface Status { state: State; checks: { name: string; state: State; detail: string; since_ms: number }[]; incidents: Incident[]; days: number }

export class Problem extends Error {
  constructor(readonly status: number, readonly title: string, readonly detail: string, readonly requestId: string | null, readonly retryAfterS: number | null = null) {
    super(detail || title);
  }
}

let onUnauthorized: () => void = () => {};
/** Called when the service says that nobody is signed in. */
export function whenSignedOut(then: () => void) { onUnauthorized = then; }

const TITLES: Record<number, string> = { 400: 'The request was not understood', 401: 'Not signed in', 403: 'Not allowed', 404: 'Not found', 409: 'Not possible now', 410: 'Erased or expired', 429: 'Too many requests' };

async function problem(response: Response): Promise<Problem> {
  let body: { title?: unknown; detail?: unknown; instance?: unknown } = {};
  try { body = (await response.json()) as typeof body; } catch { /* the status tells enough */ }
  const text = (v: unknown) => (typeof v === 'string' ? v : '');
  const id = response.headers.get('x-request-id') ?? (text(body.instance).replace(/^urn:uuid:/, '') || null);
  const retry = Number(response.headers.get('retry-after'));
  const title = TITLES[response.status] ?? (response.status >= 500 ? 'The service has a problem' : text(body.title) || `Error ${response.status}`);
  return new Problem(response.status, title, text(body.detail), id, retry > 0 ? retry : null);
}

interface Options { method?: 'GET' | 'POST' | 'DELETE'; body?: unknown; signal?: AbortSignal; signingIn?: boolean }

async function request(path: string, { method = 'GET', body, signal, signingIn }: Options = {}): Promise<Response> {
  const headers: Record<string, string> = {};
  if (method !== 'GET') headers['X-Reelvault'] = '1';
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(path, { method, headers, signal: signal ?? null, body: body === undefined ? null : JSON.stringify(body), credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, 'The service cannot be reached', 'Check the connection, then try again.', null);
  }
  if (response.ok) return response;
  const failed = await problem(response);
  if (failed.status === 401 && !signingIn) onUnauthorized();
  throw failed;
}

const json = async <T>(path: string, options?: Options): Promise<T> => (await request(path, options)).json() as Promise<T>;

const sitePath = (site: string) => `/v1/sites/${encodeURIComponent(site)}`;
export type Query = Record<string, string | number | null | undefined>;
function query(q: Query): string {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(q)) if (value !== null && value !== undefined && value !== '') out.set(name, String(value));
  const text = out.toString();
  return text ? `?${text}` : '';
}

/** A session: its id, and when it started where that is known. An id may be used again; without a start it is the last of its sessions. */
export interface Which { id: string; start_ms: number | null }

// No browser sends "." and ".." as parts of a path, in whatever spelling: the request would be for something else, as an export of the whole site.
const DOTS = new Set(['.', '..']);

function sessionPath(site: string, which: Which, part = '', q: Query = {}): string {
  if (DOTS.has(which.id)) throw new Problem(0, 'A browser cannot ask for this session', 'Its id is a dot or two, which no browser sends in an address. The reelvault command can show, replay, hold and erase it.', null);
  return `${sitePath(site)}/sessions/${encodeURIComponent(which.id)}${part}${query({ ...q, start: which.start_ms })}`;
}

export const api = {
  methods: () => json<Methods>('/auth/methods', { signingIn: true }),
  login: (user: string, password: string) => request('/auth/login', { method: 'POST', body: { user, password }, signingIn: true }),
  link: (token: string) => request('/auth/link', { method: 'POST', body: { token }, signingIn: true }),
  logout: () => request('/auth/logout', { method: 'POST', signingIn: true }),
  oidcStart: (id: string) => `/auth/oidc/${encodeURIComponent(id)}/start`,
  me: () => json<Me>('/v1/me', { signingIn: true }),
  status: (signal?: AbortSignal) => json<Status>('/v1/status', { ...(signal ? { signal } : {}), signingIn: true }),
  sessions: (site: string, q: Query, signal?: AbortSignal) => json<{ sessions: Session[]; next: string | null }>(`${sitePath(site)}/sessions${query(q)}`, signal ? { signal } : {}),
  session: async (site: string, which: Which, signal?: AbortSignal) => json<Detail>(sessionPath(site, which), signal ? { signal } : {}),
  transcript: async (site: string, which: Which, signal?: AbortSignal) => json<{ messages: Message[] }>(sessionPath(site, which, '/transcript'), signal ? { signal } : {}),
  audit: (site: string, cursor: string | null) => json<{ records: AuditRecord[]; next: string | null }>(`${sitePath(site)}/audit${query({ limit: 100, cursor })}`),
  hold: async (site: string, which: Which, reason: string) => request(sessionPath(site, which, '/hold'), { method: 'POST', body: { reason } }),
  release: async (site: string, which: Which) => request(sessionPath(site, which, '/hold'), { method: 'DELETE' }),
  /** Erases all sessions of an id: they have one key. */
  erase: async (site: string, id: string, held: boolean) => json<Record<string, unknown>>(sessionPath(site, { id, start_ms: null }, '/erase'), { method: 'POST', body: { held } }),
  exportPath: (site: string, which: Which) => sessionPath(site, which, '/export'),
  exportSitePath: (site: string, from: number | null, to: number | null) => `${sitePath(site)}/export${query({ from, to })}`,
  /** Streams events; `each` gets the lines as they arrive. */
  async events(site: string, which: Which, span: { from: number; to: number }, signal: AbortSignal, each: (lines: string[]) => void | Promise<void>): Promise<void> {
    const response = await request(sessionPath(site, which, '/events', { from: span.from, to: span.to }), { signal });
    if (!response.body) return;
    try {
      await readLines(response.body, each);
    } catch (error) {
      if (signal.aborted || error instanceof Problem) throw error;
      throw new Problem(0, 'The recording stopped arriving', 'The connection ended in the middle.', response.headers.get('x-request-id'));
    }
  },
};

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, 'Something went wrong in this page', error instanceof Error ? error.message : '', null);
}
