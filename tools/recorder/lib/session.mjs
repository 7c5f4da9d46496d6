// Records one planned session: a browser context, one or two windows, a visitor, a file.
import { createHash } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rng } from '../pages/common/rng.js';
import { ChunkWriter } from './chunk-writer.mjs';
import { Hands, TimeUp } from './hands.mjs';
import { startScript } from './inpage.mjs';
import * as visits from './visits.mjs';

class Visit {
  constructor(plan, context, writer, signal) {
    Object.assign(this, { plan, context, writer, signal, windows: plan.windows, canvas: plan.canvas, chat: plan.chat, long: plan.long, who: plan.visitor });
    this.rng = new Rng(plan.seed);
    this.until = Date.now() + plan.length;
    this.pages = [];
    this.errors = [];
  }

  async window() {
    this.page = await this.context.newPage();
    this.page.on('pageerror', (e) => this.errors.push(e.message));
    this.pages.push(this.page);
    this.hands = new Hands(this.page, this.rng, this.plan.pace, this.until, this.signal);
  }

  async open(path) {
    await this.page.goto(`http://${this.plan.site}${path}`, { waitUntil: 'load', timeout: 30_000 });
  }

  // Opens a link in a second window; the first one rests meanwhile, as a hidden tab does.
  async secondWindow(selector) {
    const link = await this.page.$(selector);
    if (!link) return;
    const href = await link.evaluate((a) => a.pathname + a.search);
    await this.page.evaluate(() => window.__rv.hide());
    this.second = true;
    const old = this.hands;
    await this.window();
    await this.open(href);
    this.swap(old);
    await this.hands.read(2500);
  }

  async firstWindow() {
    if (this.pages.length < 2 || this.page === this.pages[0]) return;
    await this.page.evaluate(() => window.__rv.hide());
    this.page = this.pages[0];
    this.swap(this.hands);
    await this.page.bringToFront();
    await this.page.evaluate(() => window.__rv.show(0));
    await this.hands.read(2000);
  }

  // The visit scripts hold on to their hands: keep the object, change its page.
  swap(hands) {
    hands.page = this.page;
    this.hands = hands;
  }
}

export async function recordSession(browser, plan, out, signal) {
  const [site] = plan.site.split('.');
  const folder = join(out, plan.site);
  await mkdir(folder, { recursive: true });
  const name = `${plan.site}/${plan.session}`;
  const agent = plan.visitor.agent;
  const [width, height] = plan.visitor.screen;
  const context = await browser.newContext({ viewport: { width, height }, userAgent: agent, locale: 'en-GB' });
  const writer = new ChunkWriter(join(out, `${name}.chunks.ndjson`), plan.session, plan.visitor.id, { page: `http://${plan.site}/index.html`, user_agent: agent });
  const chat = [];
  let timer = null;
  let broken = null;
  try {
    await context.exposeBinding('__rvEmit', (_, line) => writer.push(line));
    await context.exposeBinding('__rvChat', (_, text) => {
      const m = JSON.parse(text);
      chat.push(JSON.stringify({ timestamp: m.timestamp, session: plan.session, visitor: plan.visitor.id, from: m.from, text: m.text }));
    });
    await context.addInitScript({ content: startScript({ checkout: plan.checkout, canvas: plan.canvas }) });
    const visit = new Visit(plan, context, writer, signal);
    await visit.window();
    timer = setInterval(() => { try { writer.cut(); } catch (e) { broken = e; } }, plan.interval);
    try {
      await visits[site](visit);
    } catch (error) {
      if (!(error instanceof TimeUp)) {
        visit.errors.push(error.message.split('\n')[0]);
        if (!visit.page || writer.totals.events + writer.waiting.length < 20) throw error;
      }
    }
    await visit.page.waitForLoadState('load', { timeout: 10_000 }).catch(() => {});
    await sleep(800);
    const seen = await visit.page.evaluate(() => (window.__rv ? window.__rv.end() : ''));
    await sleep(400);
    clearInterval(timer);
    const totals = await writer.close();
    if (broken) throw broken;
    if (chat.length) await writeFile(join(out, `${name}.chat.jsonl`), `${chat.join('\n')}\n`);
    return {
      errors: visit.errors,
      entry: {
        site: plan.site, session: plan.session, visitor: plan.visitor.id, file: `${name}.chunks.ndjson`, chat: chat.length ? `${name}.chat.jsonl` : null,
        start_ms: totals.start_ms, end_ms: totals.end_ms, chunks: totals.chunks, events: totals.events, raw_bytes: totals.raw_bytes,
        windows: visit.pages.length, canvas: plan.canvas, chat_messages: chat.length, interval_ms: plan.interval,
        end_text: { chars: seen.length, sha256: createHash('sha256').update(seen).digest('hex'), sample: seen.slice(-160) },
      },
    };
  } catch (error) {
    await writer.close().catch(() => {});
    await rm(writer.file, { force: true });
    throw error;
  } finally {
    clearInterval(timer);
    await context.close().catch(() => {});
  }
}
