// Plays one session: fetches the windows it needs, hands events to rrweb's Replayer as they arrive, and keeps the time.
// Times are Unix milliseconds throughout.
import { Replayer } from 'rrweb';
import { api, asProblem, type Detail, type Problem } from '../lib/api';
import { AHEAD_MS, WHOLE_BYTES_MAX, covering, hole, join, planWindow, snapshotBefore, type Span } from '../lib/plan';
import { IDLE_LEAD_MS } from '../lib/activity';
import { CANVAS_RULE, CanvasPictures } from './canvas';
import { EventStore, KEPT_BYTES_MAX, type Event } from './store';

export const SPEEDS = [0.5, 1, 2, 4, 8];
const BINS = 240;
// The overview is drawn again at most so often while data streams in.
const REDRAW_MS = 150;
// A rest is worth a jump only if the jump saves so much.
const SKIP_GAIN_MS = 1_500;

interface Load { span: Span; reached: number; abort: AbortController }
// The replayer has every event of the store from `from` on, also those behind a hole.
interface Bound { replayer: Replayer; canvas: CanvasPictures; from: number }

// After a jump whose last event was a mouse move, rrweb takes the time of the move's first position for how far it has played, and would
// play again, twice, what lies between. What is past has been played: say so.
function settleMouse(replayer: Replayer) {
  const context = replayer.service.state.context;
  const last = context.lastPlayedEvent as Event | null;
  const source = (last?.data as { source?: unknown } | undefined)?.source;
  if (last?.type !== 3 || source !== 1 || last.timestamp > context.baselineTime + replayer.timer.timeOffset) return;
  context.lastPlayedEvent = { type: 5, timestamp: last.timestamp, data: { tag: 'reelvault past', payload: {} } } as never;
}

// rrweb counts from its first event.
const base = (replayer: Replayer) => replayer.service.state.context.events[0]!.timestamp;

export class Playback {
  time = $state(0);
  /** Whether it should play; it may be waiting for data all the same. */
  playing = $state(false);
  waiting = $state(true);
  ended = $state(false);
  speed = $state(1);
  skip = $state(true);
  /** How long the last jump over a rest was, for a moment. */
  skipped = $state<number | null>(null);
  problem = $state<Problem | null>(null);
  size = $state({ width: 1024, height: 768 });
  /** Rises when the overview (activity, pages, what is loaded) has changed. */
  version = $state(0);

  readonly start: number;
  readonly end: number;
  readonly store: EventStore;
  readonly playable: boolean;
  #bound: Bound | null = null;
  #load: Load | null = null;
  /** Where to go on as soon as it has arrived. */
  #target: number | null = null;
  #running = false;
  #frame = 0;
  #redraw: ReturnType<typeof setTimeout> | null = null;
  #skipNote: ReturnType<typeof setTimeout> | null = null;
  #gone = false;
  readonly #whole: boolean;
  readonly #snapshots: number[];

  constructor(readonly site: string, readonly session: Detail, readonly root: HTMLElement) {
    this.#snapshots = session.snapshot_times;
    this.playable = this.#snapshots.length > 0 && session.last_ms > this.#snapshots[0]!;
    this.start = this.#snapshots[0] ?? session.first_ms;
    this.end = Math.max(session.last_ms, this.start + 1);
    this.#whole = session.raw_bytes <= WHOLE_BYTES_MAX;
    this.store = new EventStore({ from: session.first_ms, to: this.end }, BINS);
  }

  begin(at: number | null, playing: boolean) {
    if (!this.playable) return;
    this.playing = playing;
    this.seek(at ?? this.start);
    this.#frame = requestAnimationFrame(this.#tick);
  }

  destroy() {
    this.#gone = true;
    cancelAnimationFrame(this.#frame);
    this.#load?.abort.abort();
    if (this.#redraw) clearTimeout(this.#redraw);
    if (this.#skipNote) clearTimeout(this.#skipNote);
    this.#bound?.replayer.destroy();
    this.#bound = null;
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  play() {
    this.playing = true;
    if (this.ended) this.seek(this.start);
    else if (this.#target === null) this.#apply(this.time);
  }

  pause() {
    this.playing = false;
    this.#halt();
  }

  setSpeed(speed: number) {
    this.speed = speed;
    this.#bound?.replayer.setConfig({ speed });
  }

  seek(to: number) {
    const t = Math.min(this.end, Math.max(this.start, Math.round(to)));
    this.time = t;
    this.ended = t >= this.end;
    if (this.ended) this.playing = false;
    this.problem = null;
    if (this.#ready(t)) { this.#apply(t); return; }
    this.#halt();
    this.#target = t;
    this.waiting = true;
    this.#want(t);
  }

  retry() {
    this.problem = null;
    this.seek(this.time);
  }

  /** The spans that have arrived, the one that is arriving included. */
  loaded(): Span[] {
    const { spans } = this.store;
    return this.#load ? join(spans, { from: this.#load.span.from, to: this.#load.reached }) : spans;
  }

  rests(): Span[] { return this.store.deeds.rests(this.loaded()); }

  // ---- what is shown

  #ready(t: number): boolean {
    const span = covering(this.loaded(), t);
    return span !== null && this.#shownFrom(span, t) !== null;
  }

  // The earliest moment at or after `t` at which there is something to see: not between a Meta and its snapshot.
  #shownFrom(span: Span, t: number): number | null {
    const snapshot = snapshotBefore(this.#snapshots, t);
    if (snapshot === null || snapshot < span.from) return null;
    const full = this.store.within({ from: snapshot, to: span.to }).find((e) => e.type === 2);
    return full ? Math.max(t, full.timestamp + 1) : null;
  }

  #apply(t: number) {
    const span = covering(this.loaded(), t);
    const from = span ? this.#shownFrom(span, t) : null;
    if (!span || from === null) { this.#stall(t); return; }
    this.#target = null;
    this.waiting = false;
    this.time = Math.max(this.time, t);
    const known = this.#bound;
    if (!known || t < known.from || known.from < span.from) this.#bind(span);
    const { replayer, canvas } = this.#bound!;
    // What happens at the moment itself belongs to it; rrweb plays only what lies before.
    const offset = from - base(replayer) + (this.playing ? 0 : 1);
    settleMouse(replayer);
    try {
      if (this.playing) replayer.play(offset);
      else replayer.pause(offset);
      canvas.flush(replayer);
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.#running = this.playing;
    this.#more();
  }

  #bind(span: Span) {
    const old = this.#bound;
    const events = this.store.within({ from: span.from, to: Infinity });
    // A mark at the end: the length is known before the events are, and playing goes on through a rest.
    const mark: Event = { type: 5, timestamp: this.end, data: { tag: 'reelvault end', payload: {} } };
    const canvas = new CanvasPictures();
    const replayer = new Replayer([...events, mark] as never[], {
      root: this.root, speed: this.speed, mouseTail: { strokeStyle: 'rgb(13 148 136 / 0.7)', lineWidth: 2, duration: 400 }, triggerFocus: false,
      showWarning: false, showDebug: false, skipInactive: false, UNSAFE_replayCanvas: false, plugins: [canvas.plugin() as never], insertStyleRules: [CANVAS_RULE],
    });
    replayer.iframe.title = 'The recorded page';
    replayer.iframe.tabIndex = -1;
    this.#followSize(replayer);
    this.#bound = { replayer, canvas, from: span.from };
    old?.replayer.destroy();
  }

  // rrweb sets the size of the first page a moment after it was made, whatever was sought meanwhile: put the right one back.
  #followSize(replayer: Replayer) {
    const sizes: { width: number; height: number }[] = [];
    let settled = false;
    const take = (size: { width: number; height: number }) => { this.size = { width: size.width, height: size.height }; };
    replayer.on('resize', (d) => {
      if (!settled) sizes.push(d as { width: number; height: number });
      if (this.#bound?.replayer === replayer || !settled) take(d as { width: number; height: number });
    });
    setTimeout(() => {
      settled = true;
      const right = sizes[sizes.length - 2];
      if (!right || this.#bound?.replayer !== replayer) return;
      take(right);
      for (const side of ['width', 'height'] as const) replayer.iframe.setAttribute(side, String(right[side]));
    }, 2);
  }

  // Hands on an event that arrived. What lies before the moment shown must not be played now: it is kept for the next seek.
  #give(event: Event) {
    const bound = this.#bound;
    if (!bound || event.timestamp < bound.from) return;
    const { service } = bound.replayer;
    const { context } = service.state;
    // Not by `addEvent`, which adds it a moment later: a seek in between would miss it, and then play it out of order.
    if (event.timestamp >= context.baselineTime) { service.send({ type: 'ADD_EVENT', payload: { event: event as never } }); return; }
    const at = context.events.findIndex((e) => e.timestamp > event.timestamp);
    context.events.splice(at < 0 ? context.events.length : at, 0, event as never);
  }

  // ---- what is fetched

  #want(t: number) {
    const load = this.#load;
    if (load && load.span.from <= t && t <= load.span.to) {
      const snapshot = snapshotBefore(this.#snapshots, t);
      // Arriving anyway, unless a jump to a later snapshot is shorter than waiting for all before it.
      if (snapshot === null || snapshot <= load.reached) return;
    }
    const window = planWindow(this.#snapshots, t, this.end, this.#whole);
    if (window) this.#fetch(window);
  }

  #fetch(span: Span) {
    if (this.#load) {
      const { span: part, reached, abort } = this.#load;
      abort.abort();
      // Events inside a chunk may be a little out of order, so the edge is not trusted.
      this.store.cover({ from: part.from, to: reached - 1000 });
    }
    if (this.store.bytes > KEPT_BYTES_MAX) this.#trim();
    const load: Load = { span, reached: span.from, abort: new AbortController() };
    this.#load = load;
    void this.#run(load);
  }

  #trim() {
    const from = snapshotBefore(this.#snapshots, this.time);
    if (from !== null) this.store.trim(from);
  }

  async #run(load: Load) {
    const current = () => this.#load === load && !this.#gone;
    try {
      await api.events(this.site, this.session, load.span, load.abort.signal, (lines) => {
        if (!current()) return;
        for (const line of lines) {
          const event = this.store.add(line);
          if (!event) continue;
          load.reached = Math.min(load.span.to, Math.max(load.reached, event.timestamp));
          this.#give(event);
        }
        this.#arrived();
      });
      if (!current()) return;
      this.#load = null;
      this.store.cover(load.span);
      this.#arrived();
      this.#more();
    } catch (error) {
      if (!current()) return;
      this.#load = null;
      this.store.cover({ from: load.span.from, to: load.reached - 1000 });
      this.problem = asProblem(error);
    }
  }

  #arrived() {
    const t = this.#target;
    if (t !== null) {
      // After a pause for lack of data a little more than the next frame must be there.
      const ahead = Math.min(this.end, this.playing ? t + 500 * this.speed : t);
      const span = covering(this.loaded(), t);
      if (span && (span.to >= ahead || !this.#load) && this.#ready(t)) this.#apply(t);
    }
    this.#redraw ??= setTimeout(() => { this.#redraw = null; this.version += 1; }, REDRAW_MS);
  }

  // Fetches the next window: what is awaited, then what comes next, then (of a session that is fetched whole) what is left.
  #more() {
    if (this.#load || this.#gone || this.problem) return;
    const spans = this.store.spans;
    if (this.#target !== null && !covering(spans, this.#target)) { this.#want(this.#target); return; }
    const next = hole(spans, { from: Math.max(this.start, this.time), to: this.end }) ?? (this.#whole ? hole(spans, { from: this.start, to: this.end }) : null);
    if (!next) return;
    if (!this.#whole && next.from - this.time > AHEAD_MS * Math.max(1, this.speed)) return;
    const window = planWindow(this.#snapshots, next.from, this.#whole ? next.to : this.end, this.#whole);
    if (window && window.to >= next.from) this.#fetch(window);
  }

  // ---- time

  #halt() {
    if (this.#running) this.#bound?.replayer.pause();
    this.#running = false;
  }

  #stall(t: number) {
    this.#halt();
    this.#target = t;
    this.waiting = true;
    this.#more();
    if (!this.#load) this.#want(t);
  }

  #tick = () => {
    if (this.#gone) return;
    this.#frame = requestAnimationFrame(this.#tick);
    if (!this.#running || !this.#bound) return;
    const t = Math.min(this.end, base(this.#bound.replayer) + this.#bound.replayer.getCurrentTime());
    this.time = Math.max(this.time, t);
    if (t >= this.end) { this.#finish(); return; }
    const span = covering(this.loaded(), t);
    if (!span || (t >= span.to && span.to < this.end)) { this.#stall(Math.round(t)); return; }
    if (this.skip) this.#skipRest(t, span);
    this.#more();
  };

  #skipRest(t: number, span: Span) {
    const rest = this.store.deeds.restAt(t, span);
    if (!rest || t - rest.from < IDLE_LEAD_MS) return;
    const to = Math.min(rest.to === this.end ? rest.to : rest.to - IDLE_LEAD_MS, this.end);
    if (to - t < SKIP_GAIN_MS) return;
    this.skipped = to - t;
    if (this.#skipNote) clearTimeout(this.#skipNote);
    this.#skipNote = setTimeout(() => { this.skipped = null; }, 1_600);
    this.seek(to);
  }

  #finish() {
    this.#halt();
    this.playing = false;
    this.time = this.end;
    this.ended = true;
  }
}
