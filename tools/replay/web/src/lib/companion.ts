// A chat and the replay beside it are two sessions of one visitor at the same time.
import { api, type Detail, type Session } from './api';

// How far around a session its companion may begin.
const AROUND_MS = 6 * 3_600_000;

/** The session of the other kind whose time overlaps most with `detail`; null where there is none. */
export function best(detail: Pick<Detail, 'id' | 'first_ms' | 'last_ms'>, candidates: readonly Session[]): Session | null {
  const overlap = (s: Session) => Math.min(s.last_ms, detail.last_ms) - Math.max(s.first_ms, detail.first_ms);
  const fitting = candidates.filter((s) => s.id !== detail.id && overlap(s) >= 0);
  return fitting.sort((a, b) => overlap(b) - overlap(a))[0] ?? null;
}

export async function companion(site: string, detail: Detail, signal?: AbortSignal): Promise<Session | null> {
  if (!detail.visitor) return null;
  const kind = detail.kind === 'chat' ? 'replay' : 'chat';
  const found = await api.sessions(site, { visitor: detail.visitor, kind, from: Math.max(0, detail.first_ms - AROUND_MS), to: detail.last_ms + AROUND_MS, limit: 100 }, signal);
  return best(detail, found.sessions);
}
