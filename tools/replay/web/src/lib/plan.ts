// Plans which times of a session to fetch. The service begins a window at the last snapshot at or before `from`, so windows
// that begin at a snapshot fetch nothing twice, and a seek fetches one stretch instead of everything before it.

export interface Span { from: number; to: number }

// A session up to this size is fetched whole: its overview is worth more than the bytes. Packed it is a tenth of that.
export const WHOLE_BYTES_MAX = 24 * 1024 * 1024;
// How far one window of a larger session reaches.
export const WINDOW_MS = 60_000;
// How much is kept ahead of what is played, in played time.
export const AHEAD_MS = 30_000;

/** The last snapshot at or before `t`; the first where `t` is before all; null where there is none. */
export function snapshotBefore(snapshots: readonly number[], t: number): number | null {
  let [low, high] = [0, snapshots.length];
  while (low < high) {
    const mid = (low + high) >> 1;
    if (snapshots[mid]! <= t) low = mid + 1;
    else high = mid;
  }
  return snapshots[Math.max(0, low - 1)] ?? null;
}

export function snapshotAfter(snapshots: readonly number[], t: number): number | null {
  return snapshots.find((s) => s > t) ?? null;
}

/** The window to fetch so that `t` can be played. Ends before a snapshot where one is near, so that the next begins there. */
export function planWindow(snapshots: readonly number[], t: number, end: number, whole: boolean): Span | null {
  const from = snapshotBefore(snapshots, t);
  if (from === null) return null;
  if (whole) return { from, to: end };
  const start = Math.max(t, from);
  const cuts = snapshots.filter((s) => s > start && s <= start + 2 * WINDOW_MS);
  const cut = cuts.find((s) => s >= start + WINDOW_MS / 2) ?? null;
  return { from, to: Math.min(end, cut === null ? start + WINDOW_MS : cut - 1) };
}

/** Adds a span to others, joining what touches. Sorted. */
export function join(spans: readonly Span[], added: Span): Span[] {
  const all = [...spans, added].filter((s) => s.to >= s.from).sort((a, b) => a.from - b.from);
  const out: Span[] = [];
  for (const s of all) {
    const last = out[out.length - 1];
    if (last && s.from <= last.to + 1) last.to = Math.max(last.to, s.to);
    else out.push({ ...s });
  }
  return out;
}

/** The first part of `within` that no span covers. */
export function hole(spans: readonly Span[], within: Span): Span | null {
  let from = within.from;
  for (const s of spans) {
    if (s.from > from) return { from, to: Math.min(within.to, s.from - 1) };
    from = Math.max(from, s.to + 1);
    if (from > within.to) return null;
  }
  return from <= within.to ? { from, to: within.to } : null;
}

export const covering = (spans: readonly Span[], t: number) => spans.find((s) => s.from <= t && t <= s.to) ?? null;
