// Tests that need no browser: node --test
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ChunkWriter, timestampOf } from '../lib/chunk-writer.mjs';
import { chunks } from '../lib/chunk-reader.mjs';
import { checkSession } from '../lib/check-session.mjs';
import { makePlan } from '../lib/plan.mjs';
import { CARDS } from '../lib/secrets.mjs';
import { Substitute } from '../lib/substitute.mjs';
import { Rng } from '../pages/common/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'recorder-test-'));
after(() => rmSync(dir, { recursive: true }));

const META = '{"type":4,"data":{"href":"http://shop.example/","width":9,"height":9},"timestamp":1000}';
const field = (value) => `{"type":2,"data":{"node":{"type":2,"tagName":"input","attributes":{"type":"password","value":"${value}"},"childNodes":[],"id":3},"initialOffset":{"left":0,"top":0}},"timestamp":1001}`;

async function write(name, events) {
  const w = new ChunkWriter(join(dir, name), 's-0123456789abcdef', 'v-0123456789ab', { page: 'http://shop.example/' });
  w.push(META);
  for (const e of events) w.push(e);
  w.cut();
  w.push('{"type":3,"data":{"source":3,"id":1,"x":0,"y":40},"timestamp":6500}');
  const totals = await w.close();
  return { site: 'shop.example', session: w.session, visitor: w.visitor, file: name, chat: null, windows: 1, canvas: false, ...totals };
}

test('what the writer writes the reader reads', async () => {
  const s = await write('a.ndjson', [field('****')]);
  const seen = [];
  for await (const c of chunks(join(dir, s.file))) seen.push([c.header.seq, c.header.first_ms, c.header.last_ms, c.events.length]);
  assert.deepEqual(seen, [[0, 1000, 1001, 2], [1, 6500, 6500, 1]]);
  assert.deepEqual((await checkSession(dir, s)).wrong, []);
});

test('the check finds an unmasked field, a typed secret and a wrong figure', async () => {
  const open = await write('b.ndjson', [field('hello')]);
  assert.match((await checkSession(dir, open)).wrong.join(), /not masked/);
  const card = await write('c.ndjson', [field('****'), `{"type":5,"data":{"tag":"x","payload":"${CARDS[0]}"},"timestamp":1002}`]);
  assert.match((await checkSession(dir, card)).wrong.join(), /typed secret/);
  const wrong = await write('d.ndjson', [field('****')]);
  assert.match((await checkSession(dir, { ...wrong, events: 9 })).wrong.join(), /says events 9/);
});

test('the check finds a session that opens without a snapshot, and a cut file', async () => {
  const s = await write('e.ndjson', []);
  assert.match((await checkSession(dir, s)).wrong.join(), /does not open/);
  const text = readFileSync(join(dir, s.file), 'utf8');
  writeFileSync(join(dir, s.file), text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1));
  await assert.rejects(checkSession(dir, s), /0 of 1 events/);
});

test('a timestamp is found at the end of an event, with and without a delay', () => {
  assert.equal(timestampOf('{"type":3,"data":{},"timestamp":1712345678901}'), 1712345678901);
  assert.equal(timestampOf('{"type":3,"data":{},"timestamp":1712345678901,"delay":-40}'), 1712345678901);
  assert.equal(timestampOf('{"timestamp":5,"type":3}'), 5);
});

test('substitution keeps the form of an event', () => {
  const line = JSON.stringify({ type: 2, data: { node: { id: 7, type: 3, textContent: 'The Quiet harbour "costs" €17.\n2 PARCELS', isStyle: false }, attributes: { class: 'quiet harbour', d: 'M1.0 2.5' } }, timestamp: 5 });
  const a = new Substitute(new Rng('a')).event(line);
  assert.notEqual(a, line);
  assert.equal(a, new Substitute(new Rng('a')).event(line));
  assert.notEqual(a, new Substitute(new Rng('b')).event(line));
  const e = JSON.parse(a);
  assert.equal(JSON.stringify(e), a);
  assert.equal(e.data.attributes.class, 'quiet harbour');
  assert.equal(e.data.node.id, 7);
  assert.match(e.data.node.textContent, /^The [A-Z][a-z]+ [a-z]+ "costs" €\d\d\.\n\d PARCELS$/);
  const masked = '{"type":3,"data":{"source":5,"text":"****","isChecked":false,"id":3},"timestamp":5}';
  assert.equal(new Substitute(new Rng('a')).event(masked), masked);
});

test('a plan is a function of its seed', () => {
  const o = { seed: 'x', sessions: 60, canvasShare: 0.08 };
  assert.deepEqual(makePlan(o), makePlan(o));
  const plan = makePlan(o);
  assert.equal(plan.filter((p) => p.canvas).length, 5);
  assert.ok(plan.every((p) => p.length >= 30_000 && p.length <= 150_000));
  assert.ok(new Set(plan.map((p) => p.visitor.id)).size < 60);
});

test('wrong options are refused with exit code 2', () => {
  for (const args of [['record.mjs'], ['record.mjs', '--sessions', 'x', '--out', dir], ['bulk.mjs'], ['bulk.mjs', '--out', dir, '--day', 'now'], ['check.mjs']]) {
    const r = spawnSync(process.execPath, args, { cwd: new URL('..', import.meta.url), encoding: 'utf8' });
    assert.equal(r.status, 2, args.join(' '));
    assert.match(r.stderr, /^error: .+\n$/);
  }
});
