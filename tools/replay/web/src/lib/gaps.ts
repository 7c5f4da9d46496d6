// Where on the timeline chunks are missing. The service tells after which chunk, and, where it knows them, the times around it.
import type { Detail } from './api';

export interface GapPlace { from: number; to: number; missing: number; /** The place is guessed from the numbers. */ about: boolean }

export function gapPlaces(detail: Pick<Detail, 'gaps' | 'chunks' | 'missing_chunks'>, start: number, end: number): GapPlace[] {
  const all = detail.chunks + detail.missing_chunks;
  const at = (seq: number) => start + ((end - start) * Math.min(all, Math.max(0, seq))) / Math.max(1, all);
  return detail.gaps.map((g) => (g.after_ms !== undefined && g.before_ms !== undefined
    ? { from: g.after_ms, to: Math.max(g.after_ms, g.before_ms), missing: g.missing, about: false }
    : { from: at(g.after_seq + 1), to: at(g.after_seq + 1 + g.missing), missing: g.missing, about: true }));
}
