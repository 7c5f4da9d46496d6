// A visitor's hands and eyes: moves the mouse along curves, types with pauses, scrolls, reads.
import { setTimeout as sleep } from 'node:timers/promises';

export class TimeUp extends Error {}

export class Hands {
  // `pace` above 1 is slower; `until` is the end of the visit, after which every action throws TimeUp.
  constructor(page, rng, pace, until, signal) {
    Object.assign(this, { page, rng, pace, until, signal });
    this.x = rng.int(200, 900);
    this.y = rng.int(150, 500);
  }

  check() {
    if (this.signal.aborted || Date.now() >= this.until) throw new TimeUp();
  }

  async wait(ms) {
    this.check();
    const end = Math.min(this.until, Date.now() + ms * this.pace);
    while (Date.now() < end) {
      await sleep(Math.min(250, Math.max(1, end - Date.now())));
      this.check();
    }
  }

  async moveTo(x, y) {
    const { rng } = this;
    const far = Math.hypot(x - this.x, y - this.y);
    const steps = Math.max(3, Math.min(26, Math.round(far / 34)));
    const bend = rng.between(-0.22, 0.22) * far;
    const [x0, y0] = [this.x, this.y];
    const mx = (x0 + x) / 2 + (bend * (y - y0)) / (far || 1);
    const my = (y0 + y) / 2 - (bend * (x - x0)) / (far || 1);
    for (let i = 1; i <= steps; i++) {
      this.check();
      const t = (i / steps) ** 0.8;
      this.x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * mx + t * t * x;
      this.y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * my + t * t * y;
      await this.page.mouse.move(this.x, this.y);
      await sleep(rng.int(8, 26) * this.pace);
    }
  }

  // The visible elements a selector finds.
  async seen(selector) {
    this.check();
    const all = await this.page.$$(selector);
    const { width, height } = this.page.viewportSize();
    const boxes = await Promise.all(all.slice(0, 80).map((el) => el.boundingBox().catch(() => null)));
    return all.filter((_, i) => boxes[i] && boxes[i].width > 4 && boxes[i].y > 60 && boxes[i].y + boxes[i].height < height + 30 && boxes[i].x >= 0 && boxes[i].x < width);
  }

  // Clicks an element (or one of the elements a selector finds); false when there is none.
  async click(target) {
    this.check();
    let el = target;
    if (typeof target === 'string') {
      const visible = await this.seen(target);
      el = visible.length ? this.rng.pick(visible) : await this.page.$(target);
    }
    if (!el) return false;
    try {
      await el.scrollIntoViewIfNeeded({ timeout: 2000 });
      const box = await el.boundingBox();
      if (!box) return false;
      await this.moveTo(box.x + box.width * this.rng.between(0.25, 0.75), box.y + box.height * this.rng.between(0.3, 0.7));
      await this.wait(this.rng.int(60, 260));
      await this.page.mouse.down();
      await sleep(this.rng.int(40, 110));
      await this.page.mouse.up();
      return true;
    } catch (error) {
      if (error instanceof TimeUp) throw error;
      return false;
    }
  }

  // Clicks what leads to another page and waits for it.
  async go(target) {
    const before = this.page.url();
    if (!(await this.click(target))) return false;
    for (let i = 0; i < 30 && this.page.url() === before; i++) await sleep(50);
    await this.page.waitForLoadState('load', { timeout: 15_000 });
    await this.wait(this.rng.int(300, 900));
    return this.page.url() !== before;
  }

  async type(selector, text, slips = true) {
    if (!(await this.click(selector))) return false;
    for (const ch of text) {
      this.check();
      if (slips && this.rng.chance(0.015)) {
        await this.page.keyboard.type('e');
        await sleep(160);
        await this.page.keyboard.press('Backspace');
      }
      if (ch === '\n') await this.page.keyboard.press('Shift+Enter');
      else await this.page.keyboard.type(ch);
      await sleep(Math.min(400, (this.rng.chance(0.06) ? 180 : this.rng.int(28, 95)) * this.pace));
    }
    return true;
  }

  async press(key) {
    this.check();
    await this.page.keyboard.press(key);
  }

  // Scrolls by about `pixels`, in the small steps a wheel makes.
  async scroll(pixels) {
    const down = Math.sign(pixels);
    for (let left = Math.abs(pixels); left > 0;) {
      this.check();
      const step = this.rng.pick([90, 120, 120, 180]);
      await this.page.mouse.wheel(0, down * step);
      left -= step;
      await sleep(this.rng.int(25, 90) * this.pace);
    }
  }

  // Looks at the page: rests, wanders with the mouse, scrolls a bit.
  async read(ms) {
    const end = Date.now() + ms * this.pace;
    const { width, height } = this.page.viewportSize();
    while (Date.now() < end) {
      const what = this.rng.next();
      if (what < 0.35) await this.moveTo(this.rng.int(80, width - 80), this.rng.int(100, height - 80));
      else if (what < 0.65) await this.scroll(this.rng.int(120, 500));
      else if (what < 0.72) await this.scroll(-this.rng.int(80, 300));
      await this.wait(this.rng.int(300, 1300));
    }
  }
}
