// Takes out of events what must not reach the replay frame. The frame's sandbox and the policy of the service already stop scripts and
// requests to other origins; this stops what neither covers (early connections by `<link>`), and keeps the rest from even being tried.

// Addresses inside style sheets. The policy of the service refuses those of other origins in any spelling; those of its own origin the service itself
// refuses, as what a page loads is no call. These are not even tried.
const OUTSIDE_URL = /url\(\s*(?:"(?!data:|blob:|#)[^"]*"|'(?!data:|blob:|#)[^']*'|(?!data:|blob:|#|["'])[^)"']*)\s*\)/gi;
const IMPORT = /@import(?![\w-])[^;]*;?/gi;
const HAS_ADDRESS = /url\(|@import|image-set\(/i;
const IMAGE_SET = /(?:-webkit-)?image-set\(\s*["'](?!data:)[^)]*\)/gi;

// Escapes of a style sheet: a character by its number, with the space that ends it, or by itself.
const ESCAPE = /\\(?:([0-9a-f]{1,6})(?:\r\n|[ \t\n\r\f])?|([^0-9a-f\n\r\f]))/gi;

// With the escapes of letters and hyphens resolved, so that `\75rl(` is seen as what it is. Others stay; the space behind a number keeps it apart.
function spellOut(text: string): string {
  return text.replace(ESCAPE, (all: string, hex: string | undefined, other: string | undefined) => {
    const code = hex ? Number.parseInt(hex, 16) : 0;
    const character = hex ? (code < 128 ? String.fromCharCode(code) : '') : (other ?? '');
    if (/^[a-z-]$/i.test(character)) return character;
    return hex ? `\\${hex} ` : all;
  });
}

/** A style text without the addresses that a browser would fetch. */
export function cleanCss(given: string): string {
  const text = given.includes('\\') ? spellOut(given) : given;
  if (!HAS_ADDRESS.test(text)) return given;
  return text.replace(IMPORT, '').replace(OUTSIDE_URL, 'url(data:,)').replace(IMAGE_SET, 'url(data:,)');
}

interface Node { type?: number; tagName?: unknown; attributes?: Record<string, unknown>; childNodes?: unknown; textContent?: unknown; rootId?: unknown }

// rrweb itself turns `script` into `noscript`; these have nothing to show without the outside.
const EMPTY = new Set(['script', 'object', 'embed', 'applet', 'base', 'portal', 'fencedframe', 'frame']);
// Addresses that a browser may fetch by itself, and those that rrweb turns into such (`rr_…`). Text in `data:` or `blob:` stays; so do the addresses of links, which nobody can follow.
const FETCHED = new Set(['src', 'srcset', 'poster', 'background', 'data', 'ping', 'srcdoc', 'imagesrcset', 'action', 'formaction', 'manifest', 'classid', 'codebase', 'profile', 'longdesc', 'archive', 'lowsrc', 'dynsrc', 'rr_dataurl', 'rr_src']);
const HREF_IS_FETCHED = new Set(['link', 'image', 'use', 'feimage', 'script', 'base', 'pattern', 'lineargradient', 'radialgradient', 'filter', 'mpath', 'textpath', 'cursor', 'animate', 'set', 'animatetransform', 'animatemotion']);
// Depth of a page. Deeper is no page, but an attempt to exhaust the stack.
export const DEPTH_MAX = 3000;

const INSIDE = /^\s*(data:|blob:|about:blank|#|$)/i;

// A `srcset` is a list; it stays only where it is all data.
function inside(value: unknown): boolean {
  return typeof value !== 'string' || INSIDE.test(value);
}

// Attributes whose values are styles.
const STYLED = new Set(['style', '_csstext', 'fill', 'stroke', 'filter', 'mask', 'clip-path', 'marker-start', 'marker-mid', 'marker-end', 'cursor']);

// A changed style arrives as an object: property to value, or to value and priority.
function cleanStyle(value: unknown): unknown {
  if (typeof value === 'string') return cleanCss(value);
  if (Array.isArray(value)) return value.map(cleanStyle);
  if (value && typeof value === 'object') for (const [name, v] of Object.entries(value)) (value as Record<string, unknown>)[name] = cleanStyle(v);
  return value;
}

function cleanAttributes(tag: string, attributes: Record<string, unknown>) {
  for (const name of Object.keys(attributes)) {
    const lower = name.toLowerCase();
    const value = attributes[name];
    if (STYLED.has(lower)) attributes[name] = cleanStyle(value);
    else if (lower.startsWith('on')) delete attributes[name];
    else if (lower === 'http-equiv') delete attributes[name];
    else if (lower === 'srcdoc' || lower === 'ping') delete attributes[name];
    else if (lower === 'srcset' || lower === 'imagesrcset') delete attributes[name];
    else if (lower === 'autofocus' || lower === 'autoplay') delete attributes[name];
    else if (FETCHED.has(lower) && !inside(value)) delete attributes[name];
    else if ((lower === 'href' || lower === 'xlink:href') && (HREF_IS_FETCHED.has(tag) ? !inside(value) : /^\s*(javascript|vbscript)\s*:/i.test(strip(value)))) delete attributes[name];
  }
  // A link without its relation connects to nothing; a style sheet that was recorded has its text in `_cssText`.
  if (tag === 'link' && typeof attributes._cssText !== 'string') delete attributes.rel;
}

// Browsers drop control characters and spaces inside a scheme.
function strip(value: unknown): string {
  return typeof value === 'string' ? value.replace(/[\u0000-\u0020]/g, '') : '';
}

function cleanNode(root: unknown) {
  const waiting: { node: Node; depth: number }[] = [];
  const visit = (value: unknown, depth: number) => { if (value && typeof value === 'object') waiting.push({ node: value as Node, depth }); };
  visit(root, 0);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { node, depth } = next;
    if (depth > DEPTH_MAX) throw new Error('a recorded page is nested too deeply');
    const tag = typeof node.tagName === 'string' ? node.tagName.toLowerCase() : '';
    if (EMPTY.has(tag)) {
      node.tagName = 'noscript';
      node.attributes = {};
      node.childNodes = [];
      continue;
    }
    if (node.attributes && typeof node.attributes === 'object') cleanAttributes(tag, node.attributes);
    if (tag === 'style' && Array.isArray(node.childNodes)) for (const child of node.childNodes as Node[]) if (typeof child?.textContent === 'string') child.textContent = cleanCss(child.textContent);
    if (Array.isArray(node.childNodes)) for (const child of node.childNodes) visit(child, depth + 1);
  }
}

// No screen is larger; a frame of a billion pixels would only hang the browser.
export const SIDE_PX_MAX = 16_384;

function side(value: unknown, otherwise: number): number {
  const n = Number(value);
  return Number.isFinite(n) && n >= 1 ? Math.min(Math.round(n), SIDE_PX_MAX) : otherwise;
}

// rrweb's sources of styles: rules, declarations, adopted style sheets.
const STYLE_SOURCES = new Set([8, 13, 15]);
const STYLE_FIELDS = ['rule', 'replace', 'replaceSync', 'value'];

function cleanRules(value: unknown, depth = 0) {
  if (!value || typeof value !== 'object' || depth > 8) return;
  for (const [name, v] of Object.entries(value)) {
    if (typeof v === 'string') { if (STYLE_FIELDS.includes(name)) (value as Record<string, unknown>)[name] = cleanCss(v); } else cleanRules(v, depth + 1);
  }
}

interface Event { type: number; data: unknown }
interface Mutation { width?: unknown; height?: unknown; source?: unknown; adds?: { node?: unknown }[]; attributes?: { attributes?: Record<string, unknown> }[] }

/** Cleans an event in place. */
export function sanitize(event: Event): void {
  const data = event.data as (Mutation & { node?: unknown }) | null;
  if (!data || typeof data !== 'object') return;
  if (event.type === 2) cleanNode(data.node);
  if (event.type === 4 || (event.type === 3 && data.source === 4)) {
    data.width = side(data.width, 1024);
    data.height = side(data.height, 768);
  }
  if (event.type !== 3) return;
  if (STYLE_SOURCES.has(data.source as number)) cleanRules(data);
  if (data.source !== 0) return;
  if (Array.isArray(data.adds)) for (const add of data.adds) cleanNode(add?.node);
  if (Array.isArray(data.attributes)) {
    for (const change of data.attributes) {
      // Which element it is isn't told here, so what any element would fetch goes, `href` and `rel` of a link too.
      const set = change?.attributes;
      if (!set || typeof set !== 'object') continue;
      delete set.rel;
      cleanAttributes('use', set);
    }
  }
}
