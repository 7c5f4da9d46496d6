import { expect, test } from 'vitest';
import { format, noFilters, parse, type Route } from '../src/lib/route';

test('every place is found again by its address', () => {
  const routes: Route[] = [
    { view: 'home' }, { view: 'status' }, { view: 'audit', site: 'shop.example' }, { view: 'sessions', site: 'shop.example', filters: noFilters() },
    { view: 'sessions', site: 's', filters: { from: 1, to: 2, last: null, visitor: 'a & b=?#/%', min: 60_000, kind: 'chat', order: 'oldest' } },
    { view: 'sessions', site: 's', filters: { ...noFilters(), last: '7d' } },
    { view: 'session', site: 's', session: 's-1', start: null, at: null }, { view: 'session', site: 's', session: 's-1', start: 1_795_373_000_000, at: 1_795_373_935_597 },
    { view: 'session', site: 's', session: 'audit', start: 5, at: null }, { view: 'session', site: 's', session: '..', start: null, at: null }, { view: 'session', site: 's', session: '../a?b#c/d%2F "><img>', start: null, at: 5 },
  ];
  for (const route of routes) expect(parse(format(route))).toEqual(route);
});

test('the addresses of the interface are understood', () => {
  expect(parse('#/s/shop.example/s-1?t=5')).toEqual({ view: 'session', site: 'shop.example', session: 's-1', start: null, at: 5 });
  expect(parse('#/s/shop.example/audit')).toEqual({ view: 'audit', site: 'shop.example' });
  expect(parse('')).toEqual({ view: 'home' });
});

test('nonsense in an address is left out', () => {
  expect(parse('#/s/a/b?t=-1')).toEqual({ view: 'session', site: 'a', session: 'b', start: null, at: null });
  expect(parse('#/s/a?kind=x&last=9y&from=x&min=1e9')).toEqual({ view: 'sessions', site: 'a', filters: noFilters() });
  expect(parse('#/s/%E0%A4%A')).toEqual({ view: 'sessions', site: '%E0%A4%A', filters: noFilters() });
});
