// What the corpus says of a session: the yardstick for what the page shows, read without the page's code.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CORPUS, corpusSites } from '../../mock/corpus.mjs';
import { textScript } from '../../../../recorder/lib/inpage.mjs';

const sites = corpusSites();
const listed = JSON.parse(readFileSync(join(CORPUS, 'corpus.json'), 'utf8')).sessions;

export const sessionsOf = (site) => sites.get(site);
export const recorded = (site, id) => sites.get(site).find((s) => s.id === id);
export const linesOf = (site, id) => recorded(site, id).recording.chunks.flatMap((c) => c.lines);
export const eventsOf = (site, id) => linesOf(site, id).map((l) => JSON.parse(l)).sort((a, b) => a.timestamp - b.timestamp);

const headings = (node, found = []) => {
  if (node.tagName === 'h1') found.push((node.childNodes ?? []).map((c) => c.textContent ?? '').join(''));
  for (const c of node.childNodes ?? []) headings(c, found);
  return found;
};

/** The pages of a session: when each was shown, its address, and its heading as the snapshot has it. */
export function pagesOf(site, id) {
  const pages = [];
  let meta = null;
  for (const e of eventsOf(site, id)) {
    if (e.type === 4) meta = e;
    if (e.type === 2 && meta) pages.push({ at: e.timestamp, href: meta.data.href, heading: headings(e.data.node)[0] ?? '' });
  }
  return pages;
}

/** The longest time in which the visitor did nothing. */
export function longestRest(site, id) {
  const deeds = eventsOf(site, id).filter((e) => e.type === 3 && [1, 2, 3, 5, 6, 7, 12, 14].includes(e.data.source)).map((e) => e.timestamp);
  let rest = { from: 0, to: 0 };
  for (let i = 1; i < deeds.length; i++) if (deeds[i] - deeds[i - 1] > rest.to - rest.from) rest = { from: deeds[i - 1], to: deeds[i] };
  return rest;
}

/** Whether the frame shows exactly the text with which the recorded page ended. */
export async function endsAsRecorded(page, site, id) {
  const want = listed.find((s) => s.site === site && s.session === id).end_text;
  const text = await page.evaluate(`(() => { ${textScript}; const d = document.querySelector('.replayer-wrapper iframe')?.contentDocument; return d?.body ? window.__rvText(d) : ''; })()`);
  return createHash('sha256').update(text).digest('hex') === want.sha256;
}
