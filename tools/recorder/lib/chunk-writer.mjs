// Gathers one session's events and writes them as numbered chunks, one file per session.
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';

export function timestampOf(line) {
  const m = /"timestamp":(\d+)(?:,"delay":-?\d+)?\}$/.exec(line.slice(-60));
  return m ? Number(m[1]) : JSON.parse(line).timestamp;
}

export function header(session, visitor, seq, lines, attributes) {
  let first = Infinity;
  let last = 0;
  for (const line of lines) {
    const t = timestampOf(line);
    if (t < first) first = t;
    if (t > last) last = t;
  }
  const chunk = { session, visitor, seq, first_ms: first, last_ms: last, events: lines.length };
  if (seq === 0 && attributes) chunk.attributes = attributes;
  return { first, last, line: JSON.stringify({ chunk }) };
}

export class ChunkWriter {
  constructor(file, session, visitor, attributes) {
    Object.assign(this, { file, session, visitor, attributes });
    this.out = createWriteStream(file);
    this.out.on('error', (e) => { this.failed = e; });
    this.waiting = [];
    this.totals = { chunks: 0, events: 0, raw_bytes: 0, start_ms: Infinity, end_ms: 0 };
  }

  push(line) {
    this.waiting.push(line);
  }

  cut() {
    if (this.failed) throw this.failed;
    if (!this.waiting.length) return;
    const lines = this.waiting;
    this.waiting = [];
    const t = this.totals;
    const head = header(this.session, this.visitor, t.chunks, lines, this.attributes);
    const text = `${head.line}\n${lines.join('\n')}\n`;
    this.out.write(text);
    t.chunks += 1;
    t.events += lines.length;
    t.raw_bytes += Buffer.byteLength(text);
    t.start_ms = Math.min(t.start_ms, head.first);
    t.end_ms = Math.max(t.end_ms, head.last);
  }

  async close() {
    this.cut();
    this.out.end();
    if (!this.out.closed) await once(this.out, 'close');
    if (this.failed) throw this.failed;
    return this.totals;
  }
}
