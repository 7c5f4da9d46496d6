import { expect, test } from 'vitest';
import { ago, bytes, clock, fromInput, length, spoken, toInput, untilDay } from '../src/lib/time';

test('a clock has hours only from an hour on', () => {
  expect([0, 999, 61_000, 3_599_999, 3_600_000, 36_061_000, -5].map(clock)).toEqual(['0:00', '0:00', '1:01', '59:59', '1:00:00', '10:01:01', '0:00']);
});

test('a length is told in the fewest words', () => {
  expect([0, 420, 34_000, 59_600, 60_000, 137_000, 3_600_000, 3_840_000].map(length)).toEqual(['0 ms', '420 ms', '34 s', '1 min', '1 min', '2 min 17 s', '1 h', '1 h 04 min']);
});

test('a length is spoken in whole words', () => {
  expect([0, 1000, 62_000, 3_601_000].map(spoken)).toEqual(['0 seconds', '1 second', '1 minute 2 seconds', '1 hour 1 second']);
});

test('sizes have two figures', () => {
  expect([0, 1023, 1024, 10 * 1024, 3_504_522, 480 * 1024 ** 2, 3 * 1024 ** 3].map(bytes)).toEqual(['0 B', '1023 B', '1.0 KB', '10 KB', '3.3 MB', '480 MB', '3.0 GB']);
});

test('days until a date are counted from now', () => {
  const now = Date.parse('2026-11-25T11:00:00Z');
  expect(['2026-11-26', '2026-11-27', '2027-02-20', '2026-11-25', '2026-11-24', '2026-11-23', 'soon'].map((d) => untilDay(d, now))).toEqual(['tomorrow', 'in 2 days', 'in 87 days', 'today', '1 day ago', '2 days ago', '']);
});

test('a past moment is told roughly', () => {
  const now = 1_800_000_000_000;
  expect([10_000, 120_000, 7_200_000, 5 * 86_400_000].map((d) => ago(now - d, now))).toEqual(['just now', '2 min ago', '2 h ago', '5 days ago']);
});

test('a date field gives back what it was given, to the minute', () => {
  const ms = new Date(2026, 10, 22, 19, 4).getTime();
  expect(fromInput(toInput(ms))).toBe(ms);
  expect(fromInput('')).toBeNull();
  expect(fromInput('no date')).toBeNull();
});
