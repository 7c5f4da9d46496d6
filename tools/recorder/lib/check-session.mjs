// The checks on one session's files.
import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { chunks, lines } from './chunk-reader.mjs';
import { spellings } from './secrets.mjs';

const SECRETS = spellings();
const LOCAL = /127\.0\.0\.1|localhost|HeadlessChrome|\/tmp\/|\/root\/|\/home\//;
const IPV4 = /\b\d{1,3}(?:\.\d{1,3}){3}\b/;

// Follows which nodes of a page are private fields, and sees that they only ever hold asterisks.
class PrivateFields {
  constructor() {
    this.ids = new Set();
    this.masked = 0;
    this.leaks = 0;
  }

  value(text) {
    if (typeof text !== 'string' || text === '') return;
    if (/^\*+$/.test(text)) this.masked += 1;
    else this.leaks += 1;
  }

  node(n) {
    if (n.type === 2 && n.tagName === 'input') {
      const a = n.attributes;
      if (a.type === 'password' || 'data-private' in a || /^cc-/.test(a.autocomplete || '')) {
        this.ids.add(n.id);
        this.value(a.value);
      }
    }
    for (const c of n.childNodes || []) this.node(c);
  }

  event(e) {
    if (e.type === 2) {
      this.ids.clear();
      this.node(e.data.node);
    } else if (e.type === 3 && e.data.source === 0) {
      for (const add of e.data.adds) this.node(add.node);
      for (const a of e.data.attributes) if (this.ids.has(a.id)) this.value(a.attributes.value);
    } else if (e.type === 3 && e.data.source === 5 && this.ids.has(e.data.id)) {
      this.value(e.data.text);
    }
  }
}

export async function checkSession(dir, s) {
  const wrong = [];
  const bad = (text) => { if (wrong.length < 8) wrong.push(`${s.site}/${s.session}: ${text}`); };
  const fields = new PrivateFields();
  const t = { chunks: 0, events: 0, raw: 0, start: Infinity, end: 0, snapshots: 0, opening: [], frames: 0, messages: 0 };
  const search = (line, where) => {
    for (const secret of SECRETS) if (line.includes(secret)) bad(`a typed secret stands in ${where}`);
    const local = LOCAL.exec(line);
    if (local) bad(`"${local[0]}" stands in ${where}`);
  };
  for await (const { header: c, events } of chunks(join(dir, s.file))) {
    if (c.session !== s.session) bad(`chunk ${t.chunks} belongs to ${c.session}`);
    if (c.visitor !== s.visitor) bad(`chunk ${t.chunks} names visitor ${c.visitor}`);
    if (c.seq !== t.chunks) bad(`sequence ${c.seq} where ${t.chunks} was due`);
    if (c.attributes && (c.seq !== 0 || IPV4.test(c.attributes.page || '') || Object.values(c.attributes).some((v) => typeof v !== 'string'))) bad(`attributes of chunk ${c.seq} are not allowed`);
    t.raw += Buffer.byteLength(`${JSON.stringify({ chunk: c })}\n`);
    let first = Infinity;
    let last = 0;
    for (const line of events) {
      t.raw += Buffer.byteLength(line) + 1;
      search(line, `chunk ${c.seq}`);
      let e;
      try {
        e = JSON.parse(line);
      } catch {
        bad(`chunk ${c.seq} has an event that is no JSON`);
        continue;
      }
      if (!Number.isInteger(e.timestamp) || !Number.isInteger(e.type) || e.type < 0 || e.type > 6) { bad(`chunk ${c.seq} has a malformed event`); continue; }
      first = Math.min(first, e.timestamp);
      last = Math.max(last, e.timestamp);
      if (e.type === 4 && !/^https?:/.test(e.data.href)) bad(`recorded ${e.data.href}`);
      if (e.type === 2) t.snapshots += 1;
      if (e.type === 3 && e.data.source === 9) t.frames += 1;
      if (t.opening.length < 2 && (t.opening.length || ![0, 1, 5].includes(e.type))) t.opening.push(e.type);
      fields.event(e);
    }
    if (first !== c.first_ms || last !== c.last_ms) bad(`chunk ${c.seq} holds ${first}..${last}, its header says ${c.first_ms}..${c.last_ms}`);
    t.start = Math.min(t.start, first);
    t.end = Math.max(t.end, last);
    t.chunks += 1;
    t.events += events.length;
  }
  if (!s.broken && t.opening.join() !== '4,2') bad('does not open with Meta and FullSnapshot');
  if (fields.leaks) bad(`${fields.leaks} private fields are not masked`);
  if (s.canvas !== t.frames > 0) bad(`canvas is ${s.canvas}, yet ${t.frames} canvas events`);
  for (const [name, have, want] of [['chunks', t.chunks, s.chunks], ['events', t.events, s.events], ['raw_bytes', t.raw, s.raw_bytes], ['start_ms', t.start, s.start_ms], ['end_ms', t.end, s.end_ms]]) {
    if (have !== want) bad(`corpus.json says ${name} ${want}, the file has ${have}`);
  }
  if (s.chat) {
    let before = 0;
    for await (const line of lines(join(dir, s.chat))) {
      search(line, 'the chat');
      const m = JSON.parse(line);
      if (m.session !== s.session || m.visitor !== s.visitor || !['visitor', 'agent'].includes(m.from) || typeof m.text !== 'string' || m.timestamp < before) bad('the chat has a wrong message');
      before = m.timestamp;
      t.messages += 1;
    }
  }
  return { wrong, masked: fields.masked, ...t };
}
