// The paths beneath a site: list, one session, its events, hold, erase, export, audit.
import { createHash, randomUUID } from 'node:crypto';
import { Refused, json } from './routes.mjs';

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const TIME = /"timestamp":(\d+(?:\.\d+)?)/g;

function open(session) {
  if (session.snapshots === null) session.snapshots = session.recording.snapshots.length;
  return session;
}

function shown(session) {
  const { recording, gaps, hold, messages, gone, slow, shift, erased, ...plain } = open(session);
  return plain;
}

function number(call, name) {
  const text = call.query.get(name);
  if (text === null) return undefined;
  if (!/^\d{1,16}$/.test(text)) throw new Refused(400, 'Bad request', `${name} is not a number`);
  return Number(text);
}

export function list(call) {
  call.need('viewer');
  const { query, site, world } = call;
  const [from, to, min, limit] = [number(call, 'from') ?? 0, number(call, 'to') ?? Infinity, number(call, 'min_duration_ms') ?? 0, number(call, 'limit') ?? 100];
  if (limit < 1 || limit > 1000) throw new Refused(400, 'Bad request', 'limit is from 1 to 1000');
  const oldest = query.get('order') === 'oldest';
  const visitor = query.get('visitor');
  const kind = query.get('kind');
  const cursor = query.get('cursor') ? Number(Buffer.from(query.get('cursor'), 'base64url').toString()) : 0;
  if (!Number.isInteger(cursor)) throw new Refused(400, 'Bad request', 'the cursor is not one of ours');
  const sorted = sort(world, site, oldest);
  const page = [];
  let i = cursor;
  for (; i < sorted.length && page.length < limit; i++) {
    const s = sorted[i];
    if (s.erased || s.start_ms < from || s.start_ms >= to || s.duration_ms < min) continue;
    if ((visitor && s.visitor !== visitor) || (kind && s.kind !== kind)) continue;
    page.push(shown(s));
  }
  json(call, { sessions: page, next: i < sorted.length ? Buffer.from(String(i)).toString('base64url') : null });
}

const orders = new WeakMap();
function sort(world, site, oldest) {
  const all = world.sessions(site);
  let kept = orders.get(all);
  if (!kept || kept.newest.length !== all.length) {
    const newest = [...all].sort((a, b) => b.start_ms - a.start_ms);
    kept = { newest, oldest: [...newest].reverse() };
    orders.set(all, kept);
  }
  return oldest ? kept.oldest : kept.newest;
}

export async function one(call, id, part) {
  const { world, site, req, me } = call;
  const session = world.find(site, id);
  if (!session) throw new Refused(404, 'Not found', 'no such session');
  if (session.erased || session.gone) throw new Refused(410, 'Gone', 'the session was erased or has expired');
  if (req.method === 'POST' || req.method === 'DELETE') return change(call, session, part);
  if (part === undefined) {
    call.need('viewer');
    world.note(site, me.name, 'view', id, 'allowed');
    return json(call, { ...shown(session), snapshot_times: times(session), gaps: session.gaps, hold: session.hold });
  }
  if (part === 'transcript' && session.messages) { call.need('viewer'); return json(call, { messages: session.messages }); }
  if (part === 'events') { call.need('viewer'); return events(call, session); }
  if (part === 'export') {
    call.need('exporter');
    world.note(site, me.name, 'export', id, 'allowed');
    call.res.writeHead(200, { 'content-type': 'application/x-ndjson', 'content-disposition': 'attachment; filename="session.ndjson"' });
    return call.res.end(session.recording.chunks.map((c) => c.text).join(''));
  }
  throw new Refused(404, 'Not found', 'nothing is here');
}

function times(session) {
  return session.kind === 'chat' ? [] : session.recording.snapshots.map((t) => t + (session.shift ?? 0)).filter((t) => t <= session.last_ms);
}

async function events(call, session) {
  const { req, res } = call;
  const shift = session.shift ?? 0;
  const from = (number(call, 'from') ?? 0) - shift;
  const to = (number(call, 'to') ?? Infinity) - shift;
  const etag = `"${createHash('sha256').update(`${session.id} ${from} ${to}`).digest('hex').slice(0, 24)}"`;
  if (req.headers['if-none-match'] === etag) return res.writeHead(304, { etag }).end();
  const chunks = session.recording.between(from, to);
  const packed = !shift && /\bzstd\b/.test(req.headers['accept-encoding'] ?? '');
  res.writeHead(200, { 'content-type': 'application/x-ndjson', etag, vary: 'accept-encoding', ...(packed ? { 'content-encoding': 'zstd' } : {}) });
  if (req.method === 'HEAD') return res.end();
  let left = false;
  res.on('close', () => { left = true; });
  for (const chunk of chunks) {
    if (left) return undefined;
    if (session.slow) await wait(350);
    if (packed) res.write(session.recording.frame(chunk));
    else res.write(shift ? chunk.text.replace(TIME, (_, t) => `"timestamp":${Number(t) + shift}`) : chunk.text);
  }
  return res.end();
}

function change(call, session, part) {
  call.need('admin');
  const { world, site, me, req, body } = call;
  const done = (action) => world.note(site, me.name, action, session.id, 'allowed');
  if (part === 'hold' && req.method === 'POST') {
    if (typeof body.reason !== 'string' || !body.reason.trim()) throw new Refused(400, 'Bad request', 'a hold needs a reason');
    Object.assign(session, { held: true, hold: { since_ms: Date.now(), reason: body.reason } });
    done('hold');
    return json(call, session.hold);
  }
  if (part === 'hold' && req.method === 'DELETE') {
    Object.assign(session, { held: false, hold: null });
    done('release');
    return call.res.writeHead(204).end();
  }
  if (part === 'erase' && req.method === 'POST') {
    if (session.held && !body.held) {
      world.note(site, me.name, 'erase', session.id, 'refused');
      throw new Refused(409, 'Conflict', 'It is held. Nothing was erased.');
    }
    session.erased = true;
    done('erase');
    return json(call, {
      certificate: 1, number: 41, erased: [createHash('sha256').update(session.id).digest('hex')], at_ms: Date.now(), generation_before: 118, generation_after: 119,
      key_version_destroyed: randomUUID(), final: true, previous: createHash('sha256').update('40').digest('hex'),
    });
  }
  throw new Refused(404, 'Not found', 'nothing is here');
}

export function exportSite(call) {
  call.need('exporter');
  call.world.note(call.site, call.me.name, 'export', null, 'allowed');
  call.res.writeHead(200, { 'content-type': 'application/x-tar', 'content-disposition': `attachment; filename="${call.site}.tar"` });
  // Two empty blocks: a tar without files.
  call.res.end(Buffer.alloc(1024));
}

export function audit(call) {
  call.need('auditor');
  const limit = number(call, 'limit') ?? 100;
  const before = number(call, 'cursor') ?? Infinity;
  const mine = call.world.audit.filter((r) => r.site === call.site && r.number < before).reverse();
  const records = mine.slice(0, limit).map(({ site, ...r }) => r);
  json(call, { records, next: mine.length > limit ? String(records.at(-1).number) : null });
}
