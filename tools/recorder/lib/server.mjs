// A static file server on loopback for the demo sites: the Host header chooses the folder.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { utilityCss } from './utility-css.mjs';

const PAGES = fileURLToPath(new URL('../pages', import.meta.url));
export const SITES = ['shop.example', 'dash.example', 'help.example'];

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.cjs': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };

async function body(site, path, extra) {
  if (extra.has(path)) return extra.get(path);
  if (path === '/common/utility.css') return utilityCss();
  const folder = path.startsWith('/common/') ? '' : site.split('.')[0];
  const file = normalize(join(PAGES, folder, path === '/' ? 'index.html' : path));
  if (!file.startsWith(PAGES + sep)) throw new Error('outside');
  return readFile(file);
}

// `extra` maps a path to a text that is served on every site (the player page of the replay check).
export async function startServer(extra = new Map()) {
  const server = createServer(async (req, res) => {
    const site = (req.headers.host || '').split(':')[0];
    const path = decodeURIComponent(new URL(req.url, 'http://x').pathname);
    try {
      if (!SITES.includes(site) && !extra.has(path)) throw new Error('unknown site');
      const data = await body(site, path, extra);
      res.writeHead(200, { 'content-type': TYPES[extname(path === '/' ? '.html' : path)] || 'text/html; charset=utf-8', 'cache-control': 'max-age=60' });
      res.end(data);
    } catch {
      res.writeHead(404, { 'content-type': 'text/plain' });
      res.end('not found\n');
    }
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: server.address().port,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}
