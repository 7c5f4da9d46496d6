import { afterEach, expect, test, vi } from 'vitest';
import { noFilters } from '../src/lib/route';
import { SessionList } from '../src/lib/sessions.svelte';

afterEach(() => { vi.unstubAllGlobals(); });

// Filters changed while a list was loading, or the sign-in ended: the page stood still, asking again and again.
test('a list that was left while it was loading asks no more', async () => {
  let asked = 0;
  vi.stubGlobal('fetch', (_: string, { signal }: { signal: AbortSignal }) => {
    asked += 1;
    if (asked > 20) throw new Error('it asks for ever');
    return new Promise((_, fail) => {
      if (signal.aborted) fail(signal.reason);
      signal.addEventListener('abort', () => fail(signal.reason));
    });
  });
  const list = new SessionList('shop.example', noFilters());
  const loading = list.more();
  list.leave();
  await loading;
  await list.more();
  expect(asked).toBe(1);
  expect(list.problem).toBe(null);
});
