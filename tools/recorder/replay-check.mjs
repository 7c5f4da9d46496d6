#!/usr/bin/env node
// Plays sessions of a corpus in Chromium and compares the text they end with to that of the recorded page.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Usage, parse, run } from './lib/args.mjs';
import { launch } from './lib/browser.mjs';
import { chunks, readCorpus } from './lib/chunk-reader.mjs';
import { rrwebSource, textScript } from './lib/inpage.mjs';
import { startServer } from './lib/server.mjs';

const HELP = `replay-check.mjs DIR [--sessions N] [--screens FOLDER]: replay sessions

  --sessions N       how many sessions, spread over the corpus in DIR (default
                     9; 0 for all)
  --screens FOLDER   keep a picture of the last moment of each

A recorded session must end with exactly the text its last page had. Sessions
made by bulk.mjs have other words, so they must only replay without an error and
show some text.
`;

const PAGE = `<!doctype html><meta charset="utf-8"><title>replay</title><style>body{margin:0}.replayer-mouse,.replayer-mouse-tail{display:none}</style><div id="root"></div><script src="/__rrweb.js"></script><script>${textScript}
window.lines = [];
window.play = () => {
  const events = lines.map((l) => JSON.parse(l)).sort((a, b) => a.timestamp - b.timestamp);
  const from = events.findIndex((e) => e.type === 4);
  const list = events.slice(Math.max(0, from));
  const player = new rrweb.Replayer(list, { root: document.getElementById('root'), showWarning: false, mouseTail: false });
  player.pause(player.getMetaData().totalTime + 1000);
  return new Promise((done) => setTimeout(() => done({ text: window.__rvText(player.iframe.contentDocument), stretches: list.filter((e) => e.type === 2).length }), 300));
};
</script>`;

function choose(sessions, n) {
  if (!n || n >= sessions.length) return sessions;
  return Array.from({ length: n }, (_, i) => sessions[Math.floor(((i + 0.5) * sessions.length) / n)]);
}

async function replay(browser, dir, s, screens) {
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } });
  const errors = [];
  page.on('pageerror', (e) => errors.push(e.message));
  try {
    await page.goto('http://shop.example/__replay.html');
    let events = 0;
    for await (const c of chunks(join(dir, s.file))) {
      events += c.events.length;
      await page.evaluate((l) => { window.lines.push(...l); }, c.events);
    }
    const { text, stretches } = await page.evaluate(() => window.play());
    if (screens) await page.screenshot({ path: join(screens, `${s.site}-${s.session}.png`) });
    if (errors.length) return { ok: false, why: errors[0], events, stretches };
    if (!s.end_text) return { ok: text.length > 20 || Boolean(s.broken), why: 'no text', events, stretches };
    const same = createHash('sha256').update(text).digest('hex') === s.end_text.sha256;
    return { ok: same && text.endsWith(s.end_text.sample), why: `text differs: ${text.length} characters, ${s.end_text.chars} expected, "…${text.slice(-60)}"`, events, stretches, chars: text.length };
  } finally {
    await page.close();
  }
}

async function main(argv) {
  const o = parse(argv, { sessions: { kind: 'whole', otherwise: 9, min: 0, max: 100000 }, screens: { kind: 'text' } });
  if (o.help) { process.stdout.write(HELP); return 0; }
  if (o.rest.length !== 1) throw new Usage('name one corpus folder; see --help');
  const corpus = await readCorpus(o.rest[0]);
  const chosen = choose(corpus.sessions.filter((s) => !s.broken), o.sessions);
  const server = await startServer(new Map([['/__replay.html', PAGE], ['/__rrweb.js', rrwebSource()]]));
  const sum = { good: 0, events: 0, stretches: 0, chars: 0 };
  let browser = null;
  try {
    browser = await launch(server.port);
    for (const s of chosen) {
      const r = await replay(browser, o.rest[0], s, o.screens);
      if (r.ok) sum.good += 1;
      else process.stderr.write(`${s.site}/${s.session}: ${r.why}\n`);
      for (const k of ['events', 'stretches', 'chars']) sum[k] += r[k] || 0;
    }
  } finally {
    await browser?.close();
    await server.close();
  }
  process.stdout.write(`replay-check: ${sum.good} of ${chosen.length} sessions end as recorded; ${sum.events} events, ${sum.stretches} playable stretches, ${sum.chars} characters compared\n`);
  return sum.good === chosen.length && chosen.length ? 0 : 1;
}

run(main);
