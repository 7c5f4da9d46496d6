#!/usr/bin/env node
// Stands in for the replay service while the page is made and tested: the same interface over the recorded corpus. Loopback only.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:https';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { answer } from './routes.mjs';
import { World } from './world.mjs';

export function certificate() {
  const dir = mkdtempSync(join(tmpdir(), 'reelvault-mock-'));
  try {
    const run = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7', '-subj', '/CN=127.0.0.1',
      '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', join(dir, 'key'), '-out', join(dir, 'cert')], { stdio: 'pipe' });
    if (run.status !== 0) throw new Error(`openssl: ${run.error?.message ?? run.stderr}`);
    return { key: readFileSync(join(dir, 'key')), cert: readFileSync(join(dir, 'cert')) };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

// `outside`: the address that the hostile recording wants to reach. `links`: one-time sign-in tokens.
export async function startMock({ port = 0, outside = 'http://127.0.0.1:9', links = ['first-link'] } = {}) {
  const dist = join(dirname(fileURLToPath(import.meta.url)), '../dist');
  const world = new World({ outside, links, dist });
  const server = createServer(certificate(), (req, res) => {
    answer(world, req, res).catch((error) => {
      process.stderr.write(`${req.method} ${req.url}: ${error.stack}\n`);
      if (res.headersSent) res.destroy();
      else res.writeHead(500).end();
    });
  });
  await new Promise((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done));
  return {
    url: `https://127.0.0.1:${server.address().port}`,
    world,
    close: () => new Promise((done) => { server.close(done); server.closeAllConnections(); }),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const mock = await startMock({ port: Number(process.env.PORT ?? 8443) });
  process.stdout.write(`${mock.url}/#link=first-link\nor sign in as ada, vera (viewer), emil (exporter) or otto (auditor), password "correct horse"\n`);
}
