import { afterEach, expect, test, vi } from 'vitest';
import { Problem, api } from '../src/lib/api';

afterEach(() => { vi.unstubAllGlobals(); });

function asked(): string[] {
  const paths: string[] = [];
  vi.stubGlobal('fetch', (path: string) => { paths.push(path); return Promise.resolve(new Response('{}')); });
  return paths;
}

const SIGNAL = new AbortController().signal;

test('a session is asked for by its id and its start', async () => {
  const paths = asked();
  const which = { id: 'a/b', start_ms: 5 };
  await api.session('s', which);
  await api.session('s', { id: 'a', start_ms: null });
  await api.transcript('s', which);
  await api.events('s', which, { from: 1, to: 2 }, SIGNAL, () => {});
  await api.hold('s', which, 'why');
  await api.release('s', which);
  const at = '/v1/sites/s/sessions/a%2Fb';
  expect(paths).toEqual([`${at}?start=5`, '/v1/sites/s/sessions/a', `${at}/transcript?start=5`, `${at}/events?from=1&to=2&start=5`, `${at}/hold?start=5`, `${at}/hold?start=5`]);
  expect(api.exportPath('s', which)).toBe(`${at}/export?start=5`);
});

// A browser takes them out of a path: an export of ".." was one of the whole site.
test('an id of dots is not asked for as something else', async () => {
  const paths = asked();
  for (const id of ['.', '..']) {
    const which = { id, start_ms: null };
    const all = [() => api.session('s', which), () => api.transcript('s', which), () => api.events('s', which, { from: 1, to: 2 }, SIGNAL, () => {}), () => api.hold('s', which, 'why'), () => api.release('s', which), () => api.erase('s', id, false)];
    for (const ask of all) await expect(ask()).rejects.toThrow(Problem);
    expect(() => api.exportPath('s', which)).toThrow(Problem);
  }
  expect(paths).toEqual([]);
});
