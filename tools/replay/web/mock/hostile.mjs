// A recording made by an attacker: everything a recorded page could try against whoever watches it.
// `outside` is an address of another origin on which the tests listen; nothing may ever arrive there.
import { Recording, day } from './corpus.mjs';

const SCRIPT = 'window.top.__pwned = (window.top.__pwned || 0) + 1; window.__pwned = 1;';

// What a picture of the recorded page must not make the browser ask for, in the name of whoever watches.
const OWN = '/v1/sites/shop.example/export';

function page(outside) {
  let id = 0;
  const el = (tagName, attributes = {}, ...childNodes) => ({ type: 2, tagName, attributes, childNodes, id: ++id });
  const text = (textContent, isStyle) => ({ type: 3, textContent, id: ++id, ...(isStyle ? { isStyle } : {}) });
  const at = (path) => `${outside}/${path}`;
  const body = el('body', { onload: SCRIPT },
    el('h1', {}, text('Hostile page, quietly shown')),
    el('script', {}, text(SCRIPT)),
    el('script', { src: at('script.js') }),
    el('img', { src: at('beacon.png'), onerror: SCRIPT, srcset: `${at('beacon-2x.png')} 2x` }),
    el('img', { src: 'x:broken', onerror: SCRIPT }),
    el('a', { href: `javascript:${SCRIPT}`, id: 'trap' }, text('a javascript: link')),
    el('a', { href: at('click'), ping: at('ping'), target: '_top' }, text('an outside link')),
    el('iframe', { src: at('frame.html') }),
    el('iframe', { src: `javascript:${SCRIPT}` }),
    el('iframe', { srcdoc: `<script>${SCRIPT}</script><img src="${at('srcdoc.png')}">` }),
    el('object', { data: at('object.svg'), type: 'image/svg+xml' }),
    el('embed', { src: at('embed.swf') }),
    el('video', { src: at('video.mp4'), autoplay: '', poster: at('poster.png') }),
    el('audio', { src: at('audio.mp3'), autoplay: '' }),
    el('form', { action: at('form'), id: 'form' }, el('input', { name: 'a', value: 'b', autofocus: '', onfocus: SCRIPT })),
    el('svg', { onload: SCRIPT }, el('image', { href: at('svg.png') }), el('use', { href: at('use.svg#x') })),
    el('details', { open: '', ontoggle: SCRIPT }, text('details')),
    el('div', { style: `background:url(${at('style.png')});animation:x 1s`, onanimationstart: SCRIPT }, text('styled')),
    el('table', { background: at('table.png') }),
    // Of the service itself: whoever watches is signed in there.
    el('img', { rr_dataURL: `${OWN}?from=1` }),
    el('img', { src: `${OWN}?from=2` }),
    el('canvas', { rr_dataURL: `${OWN}?from=3` }),
    el('p', { style: `background: \\75rl("${OWN}?from=4")` }, text('styled')),
    el('p', { style: `background: u\\72 l(${OWN}?from=5)` }, text('styled')),
    el('iframe', { rr_src: `${OWN}?from=6` }),
  );
  const head = el('head', {},
    el('meta', { 'http-equiv': 'refresh', content: `0;url=${at('refresh')}` }),
    el('base', { href: at('base/') }),
    el('link', { rel: 'stylesheet', href: at('style.css') }),
    el('link', { rel: 'preconnect', href: outside }),
    el('link', { rel: 'dns-prefetch', href: outside }),
    el('link', { rel: 'PREFETCH', href: at('prefetch') }),
    el('link', { rel: 'prerender', href: at('prerender') }),
    el('link', { rel: 'preload', as: 'image', href: at('preload.png') }),
    el('link', { rel: 'manifest', href: at('manifest.json') }),
    el('link', { rel: 'icon', href: at('favicon.ico') }),
    el('style', {}, text(`@import"${OWN}?from=7"; h1 { background: \\000055\\RL(${OWN}?from=8); background: \\URL(${OWN}?from=9) }`, true)),
    el('style', {}, text(`@import url(${at('import.css')}); @font-face { font-family: x; src: url(${at('font.woff2')}) } body { font-family: x; background: url(${at('css.png')}) }`, true)),
  );
  return { node: { type: 0, childNodes: [{ type: 1, name: 'html', publicId: '', systemId: '', id: ++id }, el('html', {}, head, body)], id: ++id }, body: body.id };
}

function events(outside, start) {
  const built = page(outside);
  // A recorder adds an element first, and then what is inside it.
  const added = ({ childNodes, ...node }) => ({
    source: 0, texts: [], attributes: [], removes: [],
    adds: [{ parentId: built.body, nextId: null, node: { ...node, childNodes: [] } }, ...childNodes.map((child) => ({ parentId: node.id, nextId: null, node: child }))],
  });
  const list = [
    { type: 4, data: { href: `javascript:${SCRIPT}`, width: 900, height: 600 }, timestamp: start },
    { type: 2, data: { node: built.node, initialOffset: { top: 0, left: 0 } }, timestamp: start + 20 },
    { type: 3, data: { source: 1, positions: [{ x: 80, y: 80, id: built.body, timeOffset: 0 }] }, timestamp: start + 500 },
    { type: 3, data: added({ type: 2, tagName: 'img', attributes: { src: `${outside}/late.png`, onerror: SCRIPT }, childNodes: [], id: 900 }), timestamp: start + 900 },
    { type: 3, data: added({ type: 2, tagName: 'script', attributes: {}, childNodes: [{ type: 3, textContent: SCRIPT, id: 902 }], id: 901 }), timestamp: start + 1000 },
    { type: 3, data: added({ type: 2, tagName: 'link', attributes: { rel: 'preconnect', href: outside }, childNodes: [], id: 903 }), timestamp: start + 1100 },
    { type: 3, data: { source: 0, texts: [], removes: [], adds: [], attributes: [{ id: 900, attributes: { src: `${outside}/attr.png`, onload: SCRIPT } }] }, timestamp: start + 1200 },
    { type: 3, data: { source: 8, id: 3, adds: [{ rule: `body { background: url(${outside}/rule.png) }`, index: 0 }] }, timestamp: start + 1300 },
    { type: 3, data: { source: 9, id: 904, type: 0, commands: [{ property: 'constructor', args: [SCRIPT] }] }, timestamp: start + 1400 },
    { type: 5, data: { tag: '<img src=x onerror=alert(1)>', payload: {} }, timestamp: start + 1500 },
    { type: 3, data: added({ type: 2, tagName: 'p', attributes: {}, childNodes: [{ type: 3, textContent: 'and the end of it', id: 906 }], id: 905 }), timestamp: start + 4000 },
  ];
  return list.map((e) => JSON.stringify(e));
}

// Names are data as well: ids, visitors and attributes carry markup.
export function hostileSessions(outside, start) {
  const lines = events(outside, start);
  const text = `${lines.join('\n')}\n`;
  const last = start + 4000;
  const base = {
    start_ms: start, first_ms: start, last_ms: last, duration_ms: 4000, events: lines.length, chunks: 1, raw_bytes: text.length,
    snapshots: 1, missing_chunks: 0, expires_on: day(start + 90 * 86_400_000), held: false, gaps: [], hold: null,
    attributes: { '<b onmouseover=alert(1)>name': `<img src="${outside}/attribute.png" onerror="${SCRIPT}">`, page: `javascript:${SCRIPT}` },
    recording: new Recording(() => [{ seq: 0, first_ms: start, last_ms: last, lines, text }]),
  };
  const shout = { at_ms: start + 100, from: '<script>x</script>', text: `<img src=${outside}/chat.png onerror="${SCRIPT}"> javascript:alert(1)` };
  return [
    { ...base, id: `"><img src=${outside}/id.png onerror=${SCRIPT.slice(0, 20)}>`, visitor: '<script>window.__pwned=1</script>', kind: 'replay' },
    { ...base, id: 's-hostile', visitor: 'v-"\'><svg/onload=alert(1)>', kind: 'replay' },
    { ...base, id: 'c-hostile', visitor: '../../etc/passwd?#%2e%2e', kind: 'chat', snapshots: 0, messages: [shout] },
  ];
}
