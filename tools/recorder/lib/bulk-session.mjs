// Plans one bulk session from the seed, and makes its chunks.
import { Rng } from '../pages/common/rng.js';
import { header } from './chunk-writer.mjs';
import { drawInterval } from './plan.mjs';
import { choose } from './stretches.mjs';
import { Substitute } from './substitute.mjs';

const MIB = 1048576;
const DAY = 86_400_000;

function drawSite(rng, n, names) {
  if (n <= 3) {
    const kind = names[rng.int(0, Math.min(n, names.length) - 1)];
    return { site: `${kind}.example`, kind };
  }
  // Zipf with exponent 1, by its (nearly exact) continuous inverse.
  const rank = Math.min(n, Math.floor((n + 1) ** rng.next()));
  return { site: `site-${String(rank).padStart(5, '0')}.example`, kind: names[rank % names.length] };
}

// More visits in the afternoon than at night: the peak is three times the mean of the quiet hours.
function drawTime(rng, day, days) {
  for (;;) {
    const t = rng.next() * days * DAY;
    const hour = (t % DAY) / 3_600_000;
    if (rng.next() < 0.6 + 0.4 * Math.sin(((hour - 9) / 24) * 2 * Math.PI)) return Math.round(day + t);
  }
}

export function planSession(state, index, whale) {
  const { options: o, kinds } = state;
  const rng = new Rng(`${o.seed} session ${index}`);
  const { site, kind } = drawSite(rng, o.sites, Object.keys(kinds).sort());
  const mib = whale ? o['whale-mib'] : Math.min(o['max-mib'], Math.max(o['min-mib'], o['median-mib'] * Math.exp(o.sigma * rng.normal())));
  const known = state.known.get(site) ?? [];
  const back = known.length > 3 && rng.chance(0.3);
  const visitor = back ? rng.pick(known) : `v-${rng.hex(12)}`;
  if (!back) known[known.length < 500 ? known.length : rng.int(0, 499)] = visitor;
  state.known.set(site, known);
  const k = kinds[kind];
  const canvas = k.canvas.length > 0 && (k.plain.length === 0 || rng.chance(o['canvas-share']));
  return {
    rng, site, kind, visitor, source: k,
    session: `s-${rng.hex(16)}`,
    start: drawTime(rng, state.day, o.days),
    interval: drawInterval(rng),
    length: Math.min(DAY, 140_000 * Math.exp(0.9 * rng.normal())),
    broken: !whale && rng.chance(o['broken-share']),
    picks: choose(rng, canvas ? k.canvas : k.plain, mib * MIB),
  };
}

const END = /"timestamp":\d+((?:,"delay":-?\d+)?\})$/;
const atTime = (line, t) => line.replace(END, (_, tail) => `"timestamp":${t}${tail}`);

function makeChat(plan, substitute, start, end) {
  const { rng, source } = plan;
  if (!source.chats.length || !rng.chance(0.35)) return [];
  const want = Math.round(Math.min(120, Math.max(4, 24 * Math.exp(0.5 * rng.normal()))));
  const said = [];
  while (said.length < want) said.push(...rng.pick(source.chats));
  const step = (end - start) / (want + 1);
  return said.slice(0, want).map((m, i) => JSON.stringify({ timestamp: Math.round(start + (i + 0.5 + rng.next() * 0.4) * step), session: plan.session, visitor: plan.visitor, from: m.from, text: substitute.text(m.text) }));
}

// Writes the chunks one by one; only one chunk is held at a time.
export async function makeSession(plan, write) {
  const { rng, picks } = plan;
  const substitute = new Substitute(rng);
  const natural = picks.reduce((a, p) => a + p.stretch.events[p.take - 1].t - p.stretch.start, 0) || 1;
  const scale = Math.min(3, Math.max(0.3, plan.length / natural));
  const totals = { start_ms: Infinity, end_ms: 0, chunks: 0, events: 0, raw_bytes: 0 };
  const agent = rng.pick(plan.source.agents);
  const attributes = agent && { ...agent, page: agent.page.replace(/\/\/[^/]+/, `//${plan.site}`) };
  let waiting = [];
  let until = plan.start + plan.interval;
  let clock = plan.start;
  let frames = 0;
  const cut = async () => {
    if (!waiting.length) return;
    const head = header(plan.session, plan.visitor, totals.chunks, waiting, attributes);
    const text = `${head.line}\n${waiting.join('\n')}\n`;
    totals.raw_bytes += Buffer.byteLength(text);
    totals.events += waiting.length;
    totals.chunks += 1;
    totals.start_ms = Math.min(totals.start_ms, head.first);
    totals.end_ms = Math.max(totals.end_ms, head.last);
    waiting = [];
    await write(text);
  };
  for (const [i, { stretch, take }] of picks.entries()) {
    let t = clock;
    // A session without a first snapshot has lost its first two events: the rest of that stretch cannot be played.
    for (let n = plan.broken && i === 0 && take > 4 ? 2 : 0; n < take; n++) {
      const e = stretch.events[n];
      t = Math.round(clock + (e.t - stretch.start) * scale);
      if (t >= until) {
        await cut();
        until = t + plan.interval - ((t - plan.start) % plan.interval);
      }
      if (e.line.startsWith('{"type":3,"data":{"source":9,')) frames += 1;
      waiting.push(substitute.event(atTime(e.line, t)));
    }
    clock = t + rng.int(250, 2600);
  }
  await cut();
  const lost = plan.broken && picks[0].take > 4;
  plan.broken = lost;
  return { totals, canvas: frames > 0, chat: makeChat(plan, substitute, totals.start_ms, totals.end_ms) };
}
