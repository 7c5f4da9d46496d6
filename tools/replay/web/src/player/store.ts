// The events of one session that have arrived, and which times they cover.
import { Activity, Deeds, byVisitor } from '../lib/activity';
import { covering, join, type Span } from '../lib/plan';
import { sanitize } from '../lib/sanitize';

export interface Event { type: number; timestamp: number; data: unknown; delay?: number }
export interface Page { at: number; href: string; window: number | null; width: number; height: number }

// Beyond this, what is far from the playhead is let go before more is fetched.
export const KEPT_BYTES_MAX = 160 * 1024 * 1024;

// Tells equal lines apart from different ones: windows overlap where a chunk reaches over their border. 53 bits, and the length beside it.
export function fingerprint(line: string): string {
  let [a, b] = [0xdeadbeef ^ line.length, 0x41c6ce57];
  for (let i = 0; i < line.length; i++) {
    const c = line.charCodeAt(i);
    a = Math.imul(a ^ c, 2654435761);
    b = Math.imul(b ^ c, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return `${line.length}.${(4294967296 * (2097151 & b) + (a >>> 0)).toString(36)}`;
}

// rrweb takes out of a mutation the removals that it could not carry out, and would miss them when the same event is played again.
function keepRemoves(data: unknown) {
  const removes = (data as { removes?: unknown } | null)?.removes;
  if (Array.isArray(removes)) Object.defineProperty(data, 'removes', { get: () => removes, set: () => {}, enumerable: true });
}

export class EventStore {
  events: Event[] = [];
  spans: Span[] = [];
  pages: Page[] = [];
  bytes = 0;
  damaged = 0;
  readonly deeds = new Deeds();
  readonly activity: Activity;
  #seen = new Set<string>();
  #counted = new Set<string>();
  #prints = new WeakMap<Event, string>();

  constructor(span: Span, bins: number) { this.activity = new Activity(span, bins); }

  /** Takes a line; null where it is known already or no event. */
  add(line: string): Event | null {
    const print = fingerprint(line);
    if (this.#seen.has(print)) return null;
    this.#seen.add(print);
    let event: Event;
    try {
      event = JSON.parse(line) as Event;
      if (!event || typeof event !== 'object' || typeof event.type !== 'number' || !Number.isFinite(event.timestamp)) throw new Error('no event');
      sanitize(event);
      keepRemoves(event.data);
    } catch {
      this.damaged += 1;
      return null;
    }
    this.bytes += line.length;
    this.#prints.set(event, print);
    const list = this.events;
    if (!list.length || list[list.length - 1]!.timestamp <= event.timestamp) list.push(event);
    else list.splice(this.#after(event.timestamp), 0, event);
    // What was let go and fetched again must not be counted twice.
    if (!this.#counted.has(print)) {
      this.#counted.add(print);
      this.activity.add(event);
      if (byVisitor(event)) this.deeds.add(event.timestamp);
      this.#page(event);
    }
    return event;
  }

  #after(t: number): number {
    let [low, high] = [0, this.events.length];
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.events[mid]!.timestamp <= t) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  #page(e: Event) {
    const data = (e.data ?? {}) as { href?: unknown; width?: unknown; height?: unknown; tag?: unknown; payload?: { window?: unknown } | null };
    if (e.type === 4) {
      const page = { at: e.timestamp, href: String(data.href ?? ''), window: null, width: Number(data.width) || 0, height: Number(data.height) || 0 };
      this.pages = [...this.pages, page].sort((a, b) => a.at - b.at);
    } else if (e.type === 5 && data.tag === 'window') {
      // The recorder says after a snapshot which of the visitor's windows it shows.
      const page = this.pages.filter((p) => p.at <= e.timestamp).pop();
      const n = Number(data.payload?.window);
      if (page && Number.isInteger(n)) page.window = n;
    }
  }

  cover(span: Span) { this.spans = join(this.spans, span); }
  covered(t: number): Span | null { return covering(this.spans, t); }

  /** The events to play from within `span`. */
  within(span: Span): Event[] {
    return this.events.slice(this.#after(span.from - 0.001), this.#after(span.to + 0.999));
  }

  /** Lets go of the events before `from`, when a large session would fill the memory. The overview stays. */
  trim(from: number) {
    const cut = this.#after(from - 0.001);
    for (const e of this.events.slice(0, cut)) this.#seen.delete(this.#prints.get(e)!);
    // What a stretch weighs is not kept; its share of the events is near enough.
    this.bytes = Math.round(this.bytes * (1 - cut / Math.max(1, this.events.length)));
    this.events = this.events.slice(cut);
    this.spans = this.spans.filter((s) => s.to >= from).map((s) => ({ from: Math.max(s.from, from), to: s.to }));
  }
}
