// Cuts the sessions of a recorded corpus into playable stretches: Meta, FullSnapshot, and what follows.
import { join } from 'node:path';
import { timestampOf } from './chunk-writer.mjs';
import { chunks, lines } from './chunk-reader.mjs';

const isMeta = (line) => line.startsWith('{"type":4,');

async function load(dir, session) {
  const events = [];
  let attributes = null;
  for await (const c of chunks(join(dir, session.file))) {
    if (c.header.attributes) attributes = c.header.attributes;
    for (const line of c.events) events.push({ line, t: timestampOf(line), bytes: Buffer.byteLength(line) + 1 });
  }
  events.sort((a, b) => a.t - b.t);
  const out = [];
  for (const e of events) {
    if (isMeta(e.line)) out.push([]);
    if (out.length) out[out.length - 1].push(e);
  }
  const kind = session.site.split('.')[0];
  return {
    attributes,
    stretches: out.filter((s) => s.length > 1 && s[1].line.startsWith('{"type":2,')).map((s) => ({
      kind,
      canvas: session.canvas,
      events: s,
      head: s[0].bytes + s[1].bytes,
      bytes: s.reduce((a, e) => a + e.bytes, 0),
      start: s[0].t,
      end: s.reduce((a, e) => Math.max(a, e.t), 0),
    })),
  };
}

// {kind: {plain: [stretch], canvas: [stretch], chats: [[message]], agents: [attributes]}}, smallest heads first.
export async function loadStretches(dir, corpus) {
  const kinds = {};
  for (const s of corpus.sessions) {
    const kind = s.site.split('.')[0];
    const k = (kinds[kind] ??= { plain: [], canvas: [], chats: [], agents: [] });
    const { attributes, stretches } = await load(dir, s);
    k[s.canvas ? 'canvas' : 'plain'].push(...stretches);
    if (attributes) k.agents.push(attributes);
    if (s.chat) {
      const chat = [];
      for await (const line of lines(join(dir, s.chat))) chat.push(JSON.parse(line));
      k.chats.push(chat);
    }
  }
  for (const k of Object.values(kinds)) for (const pool of [k.plain, k.canvas]) pool.sort((a, b) => a.head - b.head || a.start - b.start);
  return kinds;
}

// Stretches of one pool whose bytes come near to `target`: [{stretch, take}], `take` events of each.
export function choose(rng, pool, target) {
  const out = [];
  let left = target;
  do {
    let fit = pool.length;
    while (fit > 1 && pool[fit - 1].head > left) fit -= 1;
    // The smallest few when nothing fits, so that small sessions are not all one page.
    const s = pool[rng.int(0, Math.max(fit, Math.min(3, pool.length)) - 1)];
    let take = 2;
    let bytes = s.head;
    while (take < s.events.length && bytes + s.events[take].bytes <= left) bytes += s.events[take++].bytes;
    out.push({ stretch: s, take });
    left -= bytes;
  } while (left > pool[0].head);
  return out;
}
