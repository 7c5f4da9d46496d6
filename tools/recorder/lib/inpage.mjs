// What runs inside each recorded page: rrweb, and the few lines that start it.
import { readFileSync } from 'node:fs';

const RRWEB = new URL('../node_modules/rrweb/umd/rrweb.min.js', import.meta.url);

export function rrwebSource() {
  try {
    return readFileSync(RRWEB, 'utf8');
  } catch {
    throw new Error('rrweb is not installed: run `npm ci` in this folder first.');
  }
}

// The text of a page without its machinery, taken the same way from the page and from its replay.
function pageText(doc) {
  const walk = doc.createTreeWalker(doc.body, 4);
  const out = [];
  while (walk.nextNode()) {
    const tag = walk.currentNode.parentNode.nodeName.toLowerCase();
    if (!['script', 'style', 'noscript', 'template', 'textarea', 'option'].includes(tag)) out.push(walk.currentNode.data);
  }
  return out.join(' ').replace(/\s+/g, ' ').trim();
}

export const textScript = `window.__rvText = ${pageText.toString()};`;

// Serialised into the page; it sees only `options` and the globals of the page.
function start(options) {
  if (window.top !== window || !/^https?:$/.test(location.protocol)) return;
  const priv = (el) => Boolean(el) && (el.type === 'password' || el.hasAttribute('data-private') || el.hasAttribute('data-rr-is-password') || /^cc-/.test(el.getAttribute('autocomplete') || ''));
  let on = true;
  const types = {};
  for (const t of ['password', 'text', 'tel', 'number', 'email', 'search', 'textarea', 'select']) types[t] = true;
  const stop = rrweb.record({
    emit(event) {
      if (on) window.__rvEmit(JSON.stringify(event));
    },
    recordAfter: 'DOMContentLoaded',
    checkoutEveryNms: options.checkout,
    maskInputOptions: types,
    // Every kind of input passes here; a private one leaves as asterisks. No element known means private.
    maskInputFn: (text, el) => (!el || priv(el) ? '*'.repeat(text.length) : text),
    recordCanvas: options.canvas,
    sampling: options.canvas ? { canvas: 1 } : {},
    dataURLOptions: { type: 'image/webp', quality: 0.4 },
  });
  addEventListener('chat-message', (e) => window.__rvChat(JSON.stringify(e.detail)));
  window.__rv = {
    hide() { on = false; },
    show(n) {
      on = true;
      rrweb.record.takeFullSnapshot(true);
      rrweb.record.addCustomEvent('window', { window: n });
    },
    end() {
      const seen = window.__rvText(document);
      if (stop) stop();
      on = false;
      return seen;
    },
  };
}

export const startScript = (options) => `${rrwebSource()}\n;${textScript}\n;(${start.toString()})(${JSON.stringify(options)});`;
