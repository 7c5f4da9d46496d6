#!/usr/bin/env node
// Makes many sessions out of a recorded corpus: the same seed makes the same files.
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { Usage, parse, run } from './lib/args.mjs';
import { readCorpus } from './lib/chunk-reader.mjs';
import { makeSession, planSession } from './lib/bulk-session.mjs';
import { loadStretches } from './lib/stretches.mjs';
import { Rng } from './pages/common/rng.js';

const HELP = `bulk.mjs: make many sessions from a recorded corpus

  --corpus DIR       recorded corpus, packed or not (default: the folder corpus
                     beside this file)
  --out DIR          where to write (required; must be empty or new)
  --sessions N       how many sessions (default 100)
  --seed S           seed of everything (default "bulk")
  --day YYYY-MM-DD   first day, UTC (default 2026-01-01)
  --days D           how many days to spread over (default 1)
  --sites N          how many sites, drawn by Zipf 1.0 when more than 3 (default
                     3, the recorded ones)
  --median-mib X     median of the lognormal session size, raw (default 0.65)
  --sigma X          its sigma (default 2.0)
  --min-mib X        clip below (default 0.02)
  --max-mib X        clip above (default 64)
  --whales K         K further sessions of --whale-mib each (default 0)
  --whale-mib X      their size (default 1024)
  --canvas-share X   share of dashboard sessions with a canvas (default 0.08)
  --broken-share X   share of sessions without a first snapshot (default 0.03)
  --zstd LEVEL       pack each file with zstd (default: plain files)
  --help
`;

const share = (otherwise) => ({ kind: 'number', otherwise, min: 0, max: 1 });
const SPEC = {
  corpus: { kind: 'text', otherwise: new URL('./corpus', import.meta.url).pathname }, out: { kind: 'text' }, sessions: { kind: 'whole', otherwise: 100, min: 1, max: 10_000_000 },
  seed: { kind: 'text', otherwise: 'bulk' }, day: { kind: 'text', otherwise: '2026-01-01' }, days: { kind: 'number', otherwise: 1, min: 0.01, max: 3650 }, sites: { kind: 'whole', otherwise: 3, min: 1, max: 100_000 },
  'median-mib': { kind: 'number', otherwise: 0.65, min: 0.001, max: 1000 }, sigma: { kind: 'number', otherwise: 2, min: 0, max: 4 }, 'min-mib': { kind: 'number', otherwise: 0.02, min: 0, max: 1000 }, 'max-mib': { kind: 'number', otherwise: 64, min: 0.01, max: 20_000 },
  whales: { kind: 'whole', otherwise: 0, min: 0, max: 100 }, 'whale-mib': { kind: 'number', otherwise: 1024, min: 1, max: 20_000 },
  'canvas-share': share(0.08), 'broken-share': share(0.03), zstd: { kind: 'whole', min: 1, max: 19 },
};

// A file that takes text piece by piece, waiting when the disk (or zstd) is slower than we are.
async function openFile(path, level) {
  let out;
  let ended;
  if (level) {
    const child = spawn('zstd', ['-q', '-f', `-${level}`, '-o', path], { stdio: ['pipe', 'ignore', 'inherit'] });
    out = child.stdin;
    ended = new Promise((resolve, reject) => {
      child.once('error', (e) => reject(e.code === 'ENOENT' ? new Error('the zstd command is missing') : e));
      child.once('close', (code) => (code ? reject(new Error(`zstd failed on ${path}`)) : resolve()));
    });
  } else {
    out = createWriteStream(path);
    ended = once(out, 'close');
  }
  ended.catch(() => {});
  out.on('error', () => {});
  return {
    write: async (text) => { if (!out.write(text)) await Promise.race([once(out, 'drain'), ended]); },
    close: async () => { out.end(); await ended; },
  };
}

async function main(argv) {
  const o = parse(argv, SPEC);
  if (o.help) { process.stdout.write(HELP); return 0; }
  if (!o.out) throw new Usage('--out DIR is required; see --help');
  const day = Date.parse(`${o.day}T00:00:00Z`);
  if (!/^\d{4}-\d\d-\d\d$/.test(o.day) || Number.isNaN(day)) throw new Usage(`--day must be YYYY-MM-DD, not ${o.day}`);
  const corpus = await readCorpus(o.corpus);
  const kinds = await loadStretches(o.corpus, corpus);
  process.stderr.write(`${corpus.sessions.length} recorded sessions, ${Object.values(kinds).reduce((a, k) => a + k.plain.length + k.canvas.length, 0)} playable stretches\n`);

  await mkdir(o.out, { recursive: true });
  const list = await openFile(join(o.out, 'corpus.json'));
  await list.write(`{"version":1,"seed":${JSON.stringify(o.seed)},"sessions":[\n`);
  const state = { rng: new Rng(`bulk ${o.seed}`), day, known: new Map(), kinds, options: o };
  const total = o.sessions + o.whales;
  const started = Date.now();
  let bytes = 0;
  let stopped = false;
  process.once('SIGINT', () => { stopped = true; });
  let done = 0;
  for (; done < total && !stopped; done++) {
    const plan = planSession(state, done, done >= o.sessions);
    const ext = o.zstd ? '.zst' : '';
    const name = `${plan.site}/${plan.session}`;
    await mkdir(join(o.out, plan.site), { recursive: true });
    const path = join(o.out, `${name}.chunks.ndjson${ext}`);
    const file = await openFile(path, o.zstd);
    let made;
    try {
      made = await makeSession(plan, (text) => file.write(text));
      await file.close();
      if (made.chat.length) {
        const chat = await openFile(join(o.out, `${name}.chat.jsonl${ext}`), o.zstd);
        await chat.write(`${made.chat.join('\n')}\n`);
        await chat.close();
      }
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    bytes += made.totals.raw_bytes;
    const entry = { site: plan.site, session: plan.session, visitor: plan.visitor, file: `${name}.chunks.ndjson${ext}`, chat: made.chat.length ? `${name}.chat.jsonl${ext}` : null, ...made.totals, windows: 1, canvas: made.canvas, broken: plan.broken };
    await list.write(`${done ? ',\n' : ''}${JSON.stringify(entry)}`);
    if (done % 100 === 99) process.stderr.write(`${done + 1} of ${total}, ${(bytes / 1048576).toFixed(0)} MiB, ${(bytes / 1048.576 / (Date.now() - started)).toFixed(0)} MiB/s\n`);
  }
  await list.write('\n]}\n');
  await list.close();
  process.stdout.write(`bulk: ${done} sessions, ${(bytes / 1048576).toFixed(1)} MiB raw\n`);
  return stopped ? 130 : 0;
}

run(main);
