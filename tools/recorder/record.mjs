#!/usr/bin/env node
// Records scripted visits to the demo sites as a corpus of sessions.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Usage, parse, run as command } from './lib/args.mjs';
import { launch } from './lib/browser.mjs';
import { readCorpus } from './lib/chunk-reader.mjs';
import { makePlan } from './lib/plan.mjs';
import { startServer } from './lib/server.mjs';
import { recordSession } from './lib/session.mjs';

const HELP = `record.mjs: record scripted visits to the demo sites with rrweb

  --out DIR           where to write (required)
  --sessions N        how many sessions (default 40)
  --seed S            seed of plan and visitors (default "reelvault")
  --contexts K        browser contexts at a time, 1 to 8 (default 3)
  --canvas-share X    share of sessions that record a canvas, 0 to 0.3 (default
                      0.08)
  --long-share X      share of visits that see the long pages, 0 to 1 (default
                      0.25)
  --append            add to a corpus that is there already
  --min-seconds A     shortest visit (default 30)
  --max-seconds B     longest visit (default 150)
  --compress          pack the files with zstd -19 --long=23 at the end
  --help

Environment: CHROMIUM, the browser's path (default /usr/bin/chromium).
Ctrl-C ends the running visits, keeps what was recorded and writes corpus.json.
`;

const SPEC = {
  out: { kind: 'text' }, sessions: { kind: 'whole', otherwise: 40, min: 1, max: 2000 }, seed: { kind: 'text', otherwise: 'reelvault' },
  contexts: { kind: 'whole', otherwise: 3, min: 1, max: 8 }, 'canvas-share': { kind: 'number', otherwise: 0.08, min: 0, max: 0.3 },
  'long-share': { kind: 'number', otherwise: 0.25, min: 0, max: 1 }, append: { kind: 'flag', otherwise: false },
  'min-seconds': { kind: 'number', otherwise: 30, min: 5, max: 600 }, 'max-seconds': { kind: 'number', otherwise: 150, min: 5, max: 600 }, compress: { kind: 'flag', otherwise: false },
};

const say = (text) => process.stderr.write(`${text}\n`);

async function pack(out, entries) {
  const zstd = promisify(execFile);
  for (const e of entries) {
    for (const key of ['file', 'chat']) {
      if (!e[key]) continue;
      await zstd('zstd', ['-q', '-f', '-19', '--long=23', '--rm', join(out, e[key])]);
      e[key] += '.zst';
    }
  }
}

async function main(argv) {
  const o = parse(argv, SPEC);
  if (o.help) { process.stdout.write(HELP); return 0; }
  if (!o.out) throw new Usage('--out DIR is required; see --help');
  const plan = makePlan({ seed: o.seed, sessions: o.sessions, canvasShare: o['canvas-share'], longShare: o['long-share'], minSeconds: o['min-seconds'], maxSeconds: o['max-seconds'] });
  await mkdir(o.out, { recursive: true });
  let before = { sessions: [], runs: [] };
  if (existsSync(join(o.out, 'corpus.json'))) {
    if (!o.append) throw new Usage(`${o.out} holds a corpus already: choose another folder, or --append`);
    before = await readCorpus(o.out);
    const there = new Set(before.sessions.map((s) => s.session));
    if (plan.some((p) => there.has(p.session))) throw new Usage(`${o.out} holds sessions of seed ${o.seed} already: append with another seed`);
  }
  const stop = new AbortController();
  const onSignal = () => { say('ending the running visits …'); stop.abort(); };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);

  const server = await startServer();
  let browser = null;
  const entries = [];
  let failed = 0;
  try {
    browser = await launch(server.port);
    const waiting = plan.slice();
    const busy = new Set();
    const started = Date.now();
    // The next session whose visitor is not on a visit already.
    const next = () => {
      const i = waiting.findIndex((p) => !busy.has(p.visitor.id));
      return i < 0 ? null : waiting.splice(i, 1)[0];
    };
    const worker = async () => {
      while (waiting.length && !stop.signal.aborted) {
        const p = next();
        if (!p) { await new Promise((r) => { setTimeout(r, 500); }); continue; }
        busy.add(p.visitor.id);
        try {
          const { entry, errors } = await recordSession(browser, p, o.out, stop.signal);
          entries.push({ index: p.index, entry });
          const secs = Math.round((Date.now() - started) / 1000);
          say(`[${String(entries.length + failed).padStart(3)}/${plan.length}] ${String(secs).padStart(4)} s  ${p.site} ${p.session} ${(entry.raw_bytes / 1048576).toFixed(2)} MiB, ${entry.events} events, ${entry.chunks} chunks${entry.canvas ? ', canvas' : ''}${entry.chat ? `, ${entry.chat_messages} messages` : ''}${entry.windows > 1 ? ', two windows' : ''}${errors.length ? `; page said: ${errors[0]}` : ''}`);
        } catch (error) {
          failed += 1;
          say(`failed: ${p.site} ${p.session}: ${error.message.split('\n')[0]}`);
          if (!browser.isConnected()) { stop.abort(); throw new Error('the browser has gone'); }
        } finally {
          busy.delete(p.visitor.id);
        }
      }
    };
    await Promise.all(Array.from({ length: o.contexts }, worker));
  } finally {
    await browser?.close().catch(() => {});
    await server.close();
  }
  const list = entries.sort((a, b) => a.index - b.index).map((x) => x.entry);
  if (o.compress) { say('compressing …'); await pack(o.out, list); }
  const run = { seed: o.seed, sessions: o.sessions, recorded: list.length, canvas_share: o['canvas-share'], long_share: o['long-share'] };
  await writeFile(join(o.out, 'corpus.json'), `${JSON.stringify({ version: 1, runs: [...(before.runs ?? []), run], sessions: [...before.sessions, ...list] }, null, 1)}\n`);
  const raw = list.reduce((a, e) => a + e.raw_bytes, 0);
  say(`${list.length} sessions, ${failed} failed, ${(raw / 1048576).toFixed(1)} MiB raw`);
  if (stop.signal.aborted) return 130;
  return failed ? 1 : 0;
}

command(main);
