import { describe, expect, test } from 'vitest';
import { WINDOW_MS, covering, hole, join, planWindow, snapshotAfter, snapshotBefore } from '../src/lib/plan';

const S = [1000, 31_000, 91_000, 400_000];
const END = 900_000;

describe('planning windows', () => {
  test('a window begins at the last snapshot at or before the moment', () => {
    expect(snapshotBefore(S, 31_000)).toBe(31_000);
    expect(snapshotBefore(S, 30_999)).toBe(1000);
    expect(snapshotBefore(S, 0)).toBe(1000);
    expect(snapshotBefore([], 5)).toBeNull();
    expect(snapshotAfter(S, 31_000)).toBe(91_000);
    expect(snapshotAfter(S, 400_000)).toBeNull();
  });

  test('a session that is small enough is fetched whole, from the moment on', () => {
    expect(planWindow(S, 35_000, END, true)).toEqual({ from: 31_000, to: END });
  });

  test('a window of a large session ends just before a snapshot, so that the next begins there', () => {
    expect(planWindow(S, 1000, END, false)).toEqual({ from: 1000, to: 30_999 });
  });

  test('a long stretch without snapshots is fetched in parts', () => {
    expect(planWindow(S, 401_000, END, false)).toEqual({ from: 400_000, to: 401_000 + WINDOW_MS });
    expect(planWindow(S, END - 10, END, false)).toEqual({ from: 400_000, to: END });
  });

  test('nothing can be fetched for a session without a snapshot', () => {
    expect(planWindow([], 1, END, true)).toBeNull();
  });

  test('windows in a row cover everything and fetch nothing twice where snapshots are near', () => {
    const dense = Array.from({ length: 40 }, (_, i) => 1000 + i * 20_000);
    let at = 1000;
    let fetched = 0;
    for (let n = 0; at <= 801_000 && n < 100; n++) {
      const w = planWindow(dense, at, 801_000, false)!;
      expect(w.from).toBeLessThanOrEqual(at);
      fetched += w.to - w.from + 1;
      at = w.to + 1;
    }
    expect(fetched).toBe(800_001);
  });
});

describe('spans', () => {
  test('join where they touch', () => {
    expect(join([{ from: 10, to: 20 }], { from: 21, to: 30 })).toEqual([{ from: 10, to: 30 }]);
    expect(join([{ from: 10, to: 20 }], { from: 5, to: 12 })).toEqual([{ from: 5, to: 20 }]);
    expect(join([{ from: 10, to: 20 }], { from: 40, to: 50 })).toEqual([{ from: 10, to: 20 }, { from: 40, to: 50 }]);
    expect(join([{ from: 0, to: 5 }, { from: 10, to: 20 }], { from: 4, to: 15 })).toEqual([{ from: 0, to: 20 }]);
    expect(join([{ from: 10, to: 20 }], { from: 9, to: 3 })).toEqual([{ from: 10, to: 20 }]);
  });

  test('do not change what was handed in', () => {
    const given = [{ from: 10, to: 20 }];
    join(given, { from: 15, to: 30 });
    expect(given).toEqual([{ from: 10, to: 20 }]);
  });

  test('tell the first hole', () => {
    const spans = [{ from: 10, to: 20 }, { from: 40, to: 50 }];
    expect(hole(spans, { from: 0, to: 60 })).toEqual({ from: 0, to: 9 });
    expect(hole(spans, { from: 15, to: 60 })).toEqual({ from: 21, to: 39 });
    expect(hole(spans, { from: 45, to: 60 })).toEqual({ from: 51, to: 60 });
    expect(hole(spans, { from: 12, to: 18 })).toBeNull();
    expect(hole([], { from: 3, to: 4 })).toEqual({ from: 3, to: 4 });
  });

  test('tell which one covers a moment', () => {
    expect(covering([{ from: 10, to: 20 }], 20)).toEqual({ from: 10, to: 20 });
    expect(covering([{ from: 10, to: 20 }], 21)).toBeNull();
  });
});
