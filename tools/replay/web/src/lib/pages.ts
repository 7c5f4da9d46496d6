// The list of pages of a session, from its snapshots and the Meta events that have arrived.
import { snapshotBefore } from './plan';

export interface Seen { at: number; href: string; window: number | null }
export interface PageItem { at: number; href: string | null; path: string; host: string; window: number | null; /** A further snapshot of the page before. */ again: boolean }

function split(href: string): { path: string; host: string } {
  try {
    const url = new URL(href);
    if (url.protocol === 'http:' || url.protocol === 'https:') return { path: `${decodeURI(url.pathname)}${url.search}`, host: url.host };
  } catch { /* shown as it is */ }
  return { path: href, host: '' };
}

/** One item for each snapshot; the Meta event of a snapshot stands at or just before it. */
export function pageList(snapshots: readonly number[], seen: readonly Seen[]): PageItem[] {
  const bySnapshot = new Map<number, Seen>();
  for (const s of seen) {
    const of = snapshotBefore(snapshots, s.at);
    if (of !== null && !bySnapshot.has(of)) bySnapshot.set(of, s);
  }
  let before: Seen | null = null;
  return snapshots.map((at) => {
    const found: Seen | null = bySnapshot.get(at) ?? null;
    const again = found !== null && before !== null && found.href === before.href && (found.window === null || found.window === before.window);
    const item = { at, href: found?.href ?? null, ...split(found?.href ?? ''), window: found?.window ?? null, again };
    before = found;
    return item;
  });
}
