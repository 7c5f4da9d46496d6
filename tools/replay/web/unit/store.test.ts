import { expect, test } from 'vitest';
import { picture } from '../src/player/canvas';
import { EventStore, fingerprint } from '../src/player/store';
import { gapPlaces } from '../src/lib/gaps';
import { pageList } from '../src/lib/pages';
import { best } from '../src/lib/companion';
import type { Session } from '../src/lib/api';

const line = (timestamp: number, type = 3, data: unknown = { source: 1 }) => JSON.stringify({ type, data, timestamp });
const store = () => new EventStore({ from: 0, to: 1000 }, 10);

test('events are kept in order of time, and each once', () => {
  const s = store();
  for (const t of [5, 3, 9, 3, 4]) s.add(line(t));
  expect(s.events.map((e) => e.timestamp)).toEqual([3, 4, 5, 9]);
});

test('two events of one moment that differ are two', () => {
  const s = store();
  s.add(line(1, 3, { source: 1, a: 1 }));
  s.add(line(1, 3, { source: 1, a: 2 }));
  expect(s.events).toHaveLength(2);
  expect(fingerprint('ab')).not.toBe(fingerprint('ba'));
});

test('a line that is no event is counted and left out', () => {
  const s = store();
  for (const bad of ['{', 'null', '[]', '{"type":3}', '{"type":"3","timestamp":1}', '{"type":3,"timestamp":"1"}']) expect(s.add(bad)).toBeNull();
  expect(s.damaged).toBe(6);
  expect(s.events).toEqual([]);
});

test('what was let go can be fetched again, and counts once', () => {
  const s = store();
  for (const t of [1, 2, 3]) s.add(line(t * 100));
  s.cover({ from: 0, to: 400 });
  s.trim(250);
  expect(s.events.map((e) => e.timestamp)).toEqual([300]);
  expect(s.covered(100)).toBeNull();
  expect(s.covered(300)).toEqual({ from: 250, to: 400 });
  s.add(line(100));
  s.add(line(300));
  expect(s.events.map((e) => e.timestamp)).toEqual([100, 300]);
  expect([...s.activity.visitor].reduce((a, b) => a + b)).toBe(3);
});

test('removals stay, though the player takes out those it could not carry out', () => {
  const e = store().add(line(1, 3, { source: 0, adds: [], texts: [], attributes: [], removes: [{ id: 7, parentId: 1 }] }))!;
  const data = e.data as { removes: unknown[] };
  data.removes = [];
  expect(data.removes).toEqual([{ id: 7, parentId: 1 }]);
});

test('pages and the windows they were in are noted', () => {
  const s = store();
  s.add(line(1, 4, { href: 'http://a/', width: 10, height: 10 }));
  s.add(line(5, 4, { href: 'http://b/', width: 10, height: 10 }));
  s.add(line(6, 5, { tag: 'window', payload: { window: 2 } }));
  expect(s.pages.map((p) => [p.at, p.href, p.window])).toEqual([[1, 'http://a/', null], [5, 'http://b/', 2]]);
});

test('the list of pages has an item for each snapshot, and says which were not loaded', () => {
  const items = pageList([1, 5, 9, 20], [{ at: 1, href: 'https://a.example/x?y=%20', window: null }, { at: 5, href: 'https://a.example/x?y=%20', window: null }, { at: 20, href: 'javascript:alert(1)', window: null }]);
  expect(items.map((i) => [i.href !== null, i.path, i.host, i.again])).toEqual([[true, '/x?y=%20', 'a.example', false], [true, '/x?y=%20', 'a.example', true], [false, '', '', false], [true, 'javascript:alert(1)', '', false]]);
});

test('gaps stand at their times where these are known, else about where their numbers are', () => {
  const detail = { chunks: 8, missing_chunks: 2, gaps: [{ after_seq: 4, missing: 2 }, { after_seq: 7, missing: 1, after_ms: 700, before_ms: 710 }] };
  expect(gapPlaces(detail, 0, 1000)).toEqual([{ from: 500, to: 700, missing: 2, about: true }, { from: 700, to: 710, missing: 1, about: false }]);
});

test('the companion of a session is the one with most time in common', () => {
  const s = (id: string, first_ms: number, last_ms: number) => ({ id, first_ms, last_ms }) as Session;
  expect(best({ id: 'x', first_ms: 10, last_ms: 20 }, [s('a', 0, 12), s('b', 11, 19), s('x', 10, 20), s('c', 30, 40)])?.id).toBe('b');
  expect(best({ id: 'x', first_ms: 10, last_ms: 20 }, [s('c', 30, 40)])).toBeNull();
});

test('only pictures are taken from a canvas', () => {
  const draw = (type: string, base64: string) => ({ property: 'drawImage', args: [{ rr_type: 'ImageBitmap', args: [{ rr_type: 'Blob', type, data: [{ rr_type: 'ArrayBuffer', base64 }] }] }, 0, 0] });
  expect(picture(draw('image/webp', 'AAAA'))).toBe('data:image/webp;base64,AAAA');
  expect(picture(draw('image/svg+xml', 'AAAA'))).toBeNull();
  expect(picture(draw('image/png', 'AA"); x'))).toBeNull();
  expect(picture({ property: 'constructor', args: ['x'] })).toBeNull();
});
