// What happened when: the heights of the timeline, and the spans in which nobody did anything.
import type { Span } from './plan';

// rrweb's sources of what a visitor does: pointer and touch moves, clicks, scrolling, typing, media, drags, selections.
const BY_VISITOR: Record<number, number> = { 1: 1, 2: 4, 3: 1, 5: 3, 6: 1, 7: 2, 12: 1, 14: 1 };
const PAGE_CHANGE = 0.25;
// Nobody did anything for so long: worth skipping.
export const IDLE_MS = 5_000;
// Playback resumes so long before the next deed, so that it is seen coming.
export const IDLE_LEAD_MS = 700;

interface Timed { type: number; timestamp: number; data: unknown }

const source = (e: Timed): number => (e.type === 3 ? Number((e.data as { source?: unknown } | null)?.source) : -1);

export const byVisitor = (e: Timed): boolean => source(e) in BY_VISITOR;

/** Counts what happens into equal parts of a time span. */
export class Activity {
  readonly visitor: Float32Array;
  readonly page: Float32Array;

  constructor(readonly span: Span, readonly bins: number) {
    this.visitor = new Float32Array(bins);
    this.page = new Float32Array(bins);
  }

  add(e: Timed) {
    const from = source(e);
    if (from < 0) return;
    const length = Math.max(1, this.span.to - this.span.from);
    const bin = Math.min(this.bins - 1, Math.max(0, Math.floor(((e.timestamp - this.span.from) / length) * this.bins)));
    const weight = BY_VISITOR[from];
    if (weight === undefined) this.page[bin]! += PAGE_CHANGE;
    else this.visitor[bin]! += weight;
  }
}

/** Keeps the times of the visitor's deeds, sorted, and finds the rests between them. */
export class Deeds {
  #times: number[] = [];

  add(t: number) {
    const times = this.#times;
    if (!times.length || times[times.length - 1]! <= t) times.push(t);
    else times.splice(this.#after(t), 0, t);
  }

  clear() { this.#times = []; }

  #after(t: number): number {
    let [low, high] = [0, this.#times.length];
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.#times[mid]! <= t) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** The rest around `t` within what is loaded, or null where somebody does something soon before and after. */
  restAt(t: number, loaded: Span): Span | null {
    const at = this.#after(t);
    const from = Math.max(loaded.from, this.#times[at - 1] ?? -Infinity);
    const to = Math.min(loaded.to, this.#times[at] ?? Infinity);
    return to - from > IDLE_MS ? { from, to } : null;
  }

  rests(loaded: readonly Span[]): Span[] {
    const out: Span[] = [];
    for (const span of loaded) {
      let from = span.from;
      for (let i = this.#after(span.from - 1); i < this.#times.length && this.#times[i]! <= span.to; i++) {
        if (this.#times[i]! - from > IDLE_MS) out.push({ from, to: this.#times[i]! });
        from = this.#times[i]!;
      }
      if (span.to - from > IDLE_MS) out.push({ from, to: span.to });
    }
    return out;
  }
}
