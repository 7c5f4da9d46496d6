#!/usr/bin/env node
// Checks a corpus folder: form, figures, order, masking.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Usage, parse, run } from './lib/args.mjs';
import { checkSession } from './lib/check-session.mjs';
import { readCorpus } from './lib/chunk-reader.mjs';

const HELP = `check.mjs DIR: check the corpus in DIR (made by record.mjs or bulk.mjs)

Counts, timestamps, order, openings and masking of every session, and that
corpus.json agrees. Prints what is wrong, and one line of figures. Exit code 1
when something is wrong.
`;

async function main(argv) {
  const o = parse(argv, {});
  if (o.help) { process.stdout.write(HELP); return 0; }
  if (o.rest.length !== 1) throw new Usage('name one corpus folder; see --help');
  const [dir] = o.rest;
  const corpus = await readCorpus(dir);
  const wrong = [];
  const known = new Set(corpus.sessions.flatMap((s) => [s.file, s.chat].filter(Boolean)));
  const ids = new Set();
  for (const site of new Set(corpus.sessions.map((s) => s.site))) {
    for (const name of await readdir(join(dir, site))) if (!known.has(`${site}/${name}`)) wrong.push(`${site}/${name} is not in corpus.json`);
  }
  const sum = { chunks: 0, events: 0, snapshots: 0, messages: 0, masked: 0, raw: 0 };
  for (const s of corpus.sessions) {
    if (ids.has(s.session)) wrong.push(`${s.session} is listed twice`);
    ids.add(s.session);
    if (!/^s-[0-9a-f]{16}$/.test(s.session) || !/^v-[0-9a-f]{12}$/.test(s.visitor)) wrong.push(`${s.session}: malformed id`);
    try {
      const r = await checkSession(dir, s);
      wrong.push(...r.wrong);
      for (const k of Object.keys(sum)) sum[k] += r[k];
    } catch (error) {
      wrong.push(`${s.site}/${s.session}: ${error.message}`);
    }
  }
  for (const w of wrong) process.stderr.write(`${w}\n`);
  process.stdout.write(`check: ${wrong.length ? `${wrong.length} faults` : 'good'}; ${corpus.sessions.length} sessions, ${sum.chunks} chunks, ${sum.events} events, ${sum.snapshots} full snapshots, ${sum.messages} chat messages, ${sum.masked} masked values, ${(sum.raw / 1048576).toFixed(1)} MiB raw\n`);
  return wrong.length ? 1 : 0;
}

run(main);
