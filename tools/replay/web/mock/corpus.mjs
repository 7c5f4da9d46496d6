// The recorded corpus as the service would hold it: sessions cut into stretches, each one zstd frame.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const CORPUS = join(dirname(fileURLToPath(import.meta.url)), '../../../recorder/corpus');
const OUTPUT_MAX = 512 * 1024 * 1024;

function zstd(args, input) {
  const run = spawnSync('zstd', args, { input, maxBuffer: OUTPUT_MAX });
  if (run.error) throw new Error(`the zstd command does not run: ${run.error.message}`);
  if (run.status !== 0) throw new Error(`zstd: ${run.stderr}`);
  return run.stdout;
}

export const compress = (text) => zstd(['-3', '-c', '-q'], text);
const unpack = (file) => zstd(['-dc', '--long=27', '-q', file]).toString();

// A session's chunks, as the engine keeps them: header and lines.
export class Recording {
  #chunks = null;
  constructor(read) { this.read = read; }
  get chunks() { return (this.#chunks ??= this.read()); }

  // Times at which a playable stretch begins: a Meta that a full snapshot follows, or a snapshot without one.
  get snapshots() {
    if (this.times) return this.times;
    const times = [];
    let meta = null;
    for (const { lines } of this.chunks) {
      meta = null;
      for (const line of lines) {
        const e = JSON.parse(line);
        if (e.type === 2) times.push(meta ?? e.timestamp);
        meta = e.type === 4 ? e.timestamp : null;
      }
    }
    return (this.times = times.sort((a, b) => a - b));
  }

  // What `events?from&to` sends: from the chunk with the last snapshot at or before `from`, to the last chunk that begins at or before `to`.
  between(from, to) {
    const snapshot = this.snapshots.filter((t) => t <= from).pop() ?? -Infinity;
    const start = Math.max(0, this.chunks.findLastIndex((c) => c.first_ms <= snapshot && c.last_ms >= snapshot));
    return this.chunks.slice(snapshot === -Infinity ? 0 : start).filter((c) => c.first_ms <= to);
  }

  // Compressed once and kept, as the real service keeps its blocks.
  frame(chunk) { return (chunk.zstd ??= compress(chunk.text)); }
}

export function parseChunks(text) {
  const chunks = [];
  for (const line of text.split('\n')) {
    if (!line) continue;
    if (line.startsWith('{"chunk":')) chunks.push({ ...JSON.parse(line).chunk, lines: [] });
    else chunks.at(-1).lines.push(line);
  }
  for (const c of chunks) c.text = `${c.lines.join('\n')}\n`;
  return chunks;
}

const listed = JSON.parse(readFileSync(join(CORPUS, 'corpus.json'), 'utf8')).sessions;
const DAY = 86_400_000;

export const day = (ms) => new Date(ms).toISOString().slice(0, 10);

// `missing` chunks are left out from the middle, as if they had never arrived.
function replay(s, missing) {
  const recording = new Recording(() => {
    const all = parseChunks(unpack(join(CORPUS, s.file.replace(/(\.zst)?$/, '.zst'))));
    return missing ? all.filter((c) => c.seq < missing.after + 1 || c.seq > missing.after + missing.count) : all;
  });
  return {
    id: s.session, visitor: s.visitor, kind: 'replay', start_ms: s.start_ms, first_ms: s.start_ms, last_ms: s.end_ms,
    duration_ms: s.end_ms - s.start_ms, events: s.events, chunks: s.chunks - (missing?.count ?? 0), raw_bytes: s.raw_bytes,
    snapshots: null, missing_chunks: missing?.count ?? 0, expires_on: day(s.start_ms + 90 * DAY), held: false,
    attributes: s.windows > 1 ? { windows: String(s.windows), page: `http://${s.site}/` } : { page: `http://${s.site}/` },
    recording, gaps: missing ? [{ after_seq: missing.after, missing: missing.count }] : [], hold: null,
  };
}

function chat(s) {
  const messages = unpack(join(CORPUS, `${s.chat}.zst`.replace('.zst.zst', '.zst'))).trim().split('\n').map((l) => JSON.parse(l));
  const first = messages[0].timestamp;
  const last = messages.at(-1).timestamp;
  const text = messages.map((m) => `${JSON.stringify(m)}\n`).join('');
  return {
    id: `${s.session}-chat`, visitor: s.visitor, kind: 'chat', start_ms: first, first_ms: first, last_ms: last, duration_ms: last - first,
    events: messages.length, chunks: 1, raw_bytes: text.length, snapshots: 0, missing_chunks: 0, expires_on: day(first + 90 * DAY), held: false,
    attributes: {}, gaps: [], hold: null, messages: messages.map((m) => ({ at_ms: m.timestamp, from: m.from, text: m.text })),
    recording: new Recording(() => [{ seq: 0, first_ms: first, last_ms: last, lines: text.trim().split('\n'), text }]),
  };
}

// Every site of the corpus, with one session that lost chunks and one that is held.
export function corpusSites() {
  const sites = new Map();
  for (const s of listed) {
    if (!sites.has(s.site)) sites.set(s.site, []);
    const of = sites.get(s.site);
    const nth = of.filter((x) => x.kind === 'replay').length;
    of.push(replay(s, nth === 3 && s.chunks > 12 ? { after: 5, count: 3 } : null));
    if (s.chat) of.push(chat(s));
  }
  for (const sessions of sites.values()) {
    const held = sessions.filter((s) => s.kind === 'replay')[5];
    held.held = true;
    held.hold = { since_ms: held.last_ms + 3_600_000, reason: 'Complaint 2291: payment went through twice' };
  }
  return sites;
}

// A hundred thousand sessions that share the events of one recorded session, each moved to its own time.
export function manySessions(count, source) {
  const sessions = [];
  const end = source.last_ms;
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  for (let i = 0; i < count; i++) {
    const length = Math.round(Math.min(7_200_000, 140_000 * Math.exp(0.9 * (random() + random() + random() - 1.5) * 2)));
    const start = end - Math.round((i + random()) * 60_000);
    const shift = start - source.start_ms;
    sessions.push({
      ...source, id: `s-${(i * 2654435761 % 4294967296).toString(16).padStart(8, '0')}${i.toString(16).padStart(6, '0')}`,
      visitor: random() < 0.9 ? `v-${Math.floor(random() * 40_000).toString(16).padStart(12, '0')}` : null,
      start_ms: start, first_ms: start, last_ms: start + length, duration_ms: length, events: Math.round(length / 180),
      raw_bytes: Math.round(650_000 * Math.exp(2 * (random() + random() - 1))), snapshots: 1 + Math.floor(length / 60_000), missing_chunks: random() < 0.02 ? 2 : 0,
      expires_on: day(start + 30 * DAY), held: random() < 0.004, attributes: {}, hold: null, gaps: [], shift,
    });
  }
  return sessions;
}
