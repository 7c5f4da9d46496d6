import { expect, test } from 'vitest';
import { Activity, Deeds, byVisitor } from '../src/lib/activity';

const event = (source: number, timestamp: number) => ({ type: 3, timestamp, data: { source } });

test('what the visitor does and what the page does are told apart', () => {
  expect([0, 1, 2, 3, 5, 8].map((s) => byVisitor(event(s, 0)))).toEqual([false, true, true, true, true, false]);
  expect(byVisitor({ type: 2, timestamp: 0, data: null })).toBe(false);
});

test('events fall into the part of the timeline where they happened', () => {
  const a = new Activity({ from: 0, to: 100 }, 10);
  for (const e of [event(2, 0), event(1, 15), event(0, 99), event(1, 100), event(1, 500), { type: 4, timestamp: 50, data: {} }]) a.add(e);
  expect([...a.visitor]).toEqual([4, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
  expect(a.page[9]).toBeCloseTo(0.25);
});

test('rests lie between deeds, in whatever order these arrive', () => {
  const deeds = new Deeds();
  for (const t of [20_000, 1000, 2000, 40_000]) deeds.add(t);
  expect(deeds.rests([{ from: 0, to: 50_000 }])).toEqual([{ from: 2000, to: 20_000 }, { from: 20_000, to: 40_000 }, { from: 40_000, to: 50_000 }]);
  expect(deeds.restAt(10_000, { from: 0, to: 50_000 })).toEqual({ from: 2000, to: 20_000 });
  expect(deeds.restAt(1500, { from: 0, to: 50_000 })).toBeNull();
});

test('a rest reaches no further than what has arrived', () => {
  const deeds = new Deeds();
  deeds.add(1000);
  expect(deeds.restAt(3000, { from: 0, to: 9000 })).toEqual({ from: 1000, to: 9000 });
  expect(deeds.restAt(3000, { from: 0, to: 4000 })).toBeNull();
});
