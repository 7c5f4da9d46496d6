// Every path of the interface.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import { status } from './status.mjs';
import * as sessions from './sessions.mjs';

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src data:; connect-src 'self'; "
  + "frame-src 'self' about: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.txt': 'text/plain; charset=utf-8' };
const COOKIE = '__Host-reelvault';

export class Refused extends Error {
  constructor(status, title, detail, headers = {}) { super(detail); Object.assign(this, { status, title, headers }); }
}

export async function answer(world, req, res) {
  const id = randomUUID();
  const url = new URL(req.url, 'https://mock');
  world.requests.push(`${req.method} ${req.url}`);
  for (const [name, value] of Object.entries({
    'content-security-policy': POLICY, 'strict-transport-security': 'max-age=31536000', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp', 'cross-origin-resource-policy': 'same-origin',
    'x-dns-prefetch-control': 'off', 'cache-control': 'no-store', 'x-request-id': id,
  })) res.setHeader(name, value);
  const call = { world, req, res, url, query: url.searchParams, cookie: cookie(req) };
  try {
    await route(call);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const body = { type: 'about:blank', title: error.title, status: error.status, detail: error.message, instance: `urn:uuid:${id}` };
    res.writeHead(error.status, { 'content-type': 'application/problem+json', ...error.headers }).end(JSON.stringify(body));
  }
}

function cookie(req) {
  const found = (req.headers.cookie ?? '').split(/;\s*/).find((c) => c.startsWith(`${COOKIE}=`));
  return found?.slice(COOKIE.length + 1) ?? '';
}

export function json(call, value, code = 200) {
  const text = Buffer.from(JSON.stringify(value));
  const zip = /\bgzip\b/.test(call.req.headers['accept-encoding'] ?? '') && text.length > 1000;
  call.res.writeHead(code, { 'content-type': 'application/json', ...(zip ? { 'content-encoding': 'gzip' } : {}) }).end(zip ? gzipSync(text, { level: 1 }) : text);
}

async function body(req) {
  let text = '';
  for await (const part of req) {
    text += part;
    if (text.length > 65_536) throw new Refused(413, 'Too large', 'the body is larger than 64 KiB');
  }
  try { return text ? JSON.parse(text) : {}; } catch { throw new Refused(400, 'Bad request', 'the body is not JSON'); }
}

async function route(call) {
  const { req, url, world } = call;
  const path = url.pathname;
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    call.body = await body(req);
    const site = req.headers['sec-fetch-site'];
    if (req.headers['x-reelvault'] !== '1' || (site && site !== 'same-origin')) throw new Refused(403, 'Forbidden', 'the request does not come from the page');
  }
  if (path.startsWith('/auth/')) return signIn(call, path);
  if (path === '/v1/status') return json(call, status(Date.now()));
  if (path.startsWith('/v1/')) return data(call, path.slice(4).split('/').map(decodeURIComponent));
  if (world.dist && (path === '/' || path.startsWith('/assets/'))) return file(call, path);
  throw new Refused(404, 'Not found', 'nothing is here');
}

async function file(call, path) {
  const name = normalize(join(call.world.dist, path === '/' ? 'index.html' : path));
  if (!name.startsWith(call.world.dist)) throw new Refused(404, 'Not found', 'nothing is here');
  try {
    const bytes = await readFile(name);
    if (path !== '/') call.res.setHeader('cache-control', 'public, max-age=31536000, immutable');
    call.res.writeHead(200, { 'content-type': TYPES[extname(name)] ?? 'application/octet-stream' }).end(bytes);
  } catch {
    throw new Refused(404, 'Not found', 'nothing is here');
  }
}

function signIn(call, path) {
  const { world, res, req } = call;
  const enter = (value) => res.writeHead(204, { 'set-cookie': `${COOKIE}=${value}; Path=/; Secure; HttpOnly; SameSite=Strict` }).end();
  if (path === '/auth/methods') return json(call, { local: true, oidc: [{ id: 'example', name: 'Example ID' }] });
  if (path === '/auth/oidc/example/start') {
    const value = world.people.byIssuer();
    return res.writeHead(302, { location: '/', 'set-cookie': `${COOKIE}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax` }).end();
  }
  if (req.method !== 'POST') throw new Refused(404, 'Not found', 'nothing is here');
  if (path === '/auth/logout') {
    world.people.end(call.cookie);
    return res.writeHead(204, { 'set-cookie': `${COOKIE}=; Path=/; Secure; HttpOnly; Max-Age=0` }).end();
  }
  if (path === '/auth/link') {
    const value = world.people.byLink(String(call.body.token));
    if (!value) throw new Refused(401, 'Not signed in', 'the link was used before, or is too old');
    return enter(value);
  }
  if (path === '/auth/login') {
    const user = String(call.body.user);
    const wait = world.people.throttled(user);
    if (wait) throw new Refused(429, 'Too many requests', 'too many attempts', { 'retry-after': String(wait) });
    const value = world.people.byPassword(user, call.body.password);
    if (!value) throw new Refused(401, 'Not signed in', 'user or password is wrong');
    return enter(value);
  }
  throw new Refused(404, 'Not found', 'nothing is here');
}

function data(call, [top, site, what, session, part]) {
  const { world } = call;
  call.me = world.people.who(call.cookie);
  if (!call.me) throw new Refused(401, 'Not signed in', 'sign in first');
  if (!['empty', 'document', undefined].includes(call.req.headers['sec-fetch-dest'])) throw new Refused(403, 'Forbidden', 'the request is no call of the page');
  if (top === 'me') return json(call, { name: call.me.name, sites: call.me.sites, expires_ms: call.me.expires_ms });
  if (top !== 'sites') throw new Refused(404, 'Not found', 'nothing is here');
  if (site === undefined) return json(call, { sites: call.me.sites.map((s) => ({ id: s.id, retention_days: 90, roles: s.roles })) });
  const mine = call.me.sites.find((s) => s.id === site);
  if (!mine || !world.has(site)) throw new Refused(404, 'Not found', 'no such site');
  Object.assign(call, { site, roles: mine.roles });
  call.need = (role) => {
    if (mine.roles.includes(role)) return;
    world.note(site, call.me.name, what, session ?? null, 'denied');
    throw new Refused(403, 'Forbidden', `this needs the role ${role}`);
  };
  if (what === 'audit') return sessions.audit(call);
  if (what === 'export') return sessions.exportSite(call);
  if (what !== 'sessions') throw new Refused(404, 'Not found', 'nothing is here');
  if (session === undefined) return sessions.list(call);
  return sessions.one(call, session, part);
}
