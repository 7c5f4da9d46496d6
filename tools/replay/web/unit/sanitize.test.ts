import { describe, expect, test } from 'vitest';
import { DEPTH_MAX, SIDE_PX_MAX, cleanCss, sanitize } from '../src/lib/sanitize';

const el = (tagName: string, attributes: Record<string, unknown> = {}, childNodes: unknown[] = []) => ({ type: 2, tagName, attributes, childNodes, id: 1 });
function clean<T>(node: T): T {
  sanitize({ type: 2, data: { node } });
  return node;
}

describe('a snapshot', () => {
  test('loses what runs, and keeps what is seen', () => {
    const node = clean(el('div', { onclick: 'x()', ONLOAD: 'x()', class: 'a', title: 'onload' }, [{ type: 3, textContent: 'text' }]));
    expect(node).toEqual({ type: 2, tagName: 'div', attributes: { class: 'a', title: 'onload' }, childNodes: [{ type: 3, textContent: 'text' }], id: 1 });
  });

  test('loses scripts, plugins and bases with all they hold', () => {
    for (const tag of ['script', 'SCRIPT', 'object', 'embed', 'base', 'applet']) {
      const node = clean(el(tag, { src: 'https://x/', href: 'https://x/', data: 'https://x/' }, [{ type: 3, textContent: 'x()' }]));
      expect(node).toMatchObject({ tagName: 'noscript', attributes: {}, childNodes: [] });
    }
  });

  test('connects to nothing early', () => {
    for (const rel of ['preconnect', 'dns-prefetch', 'PREFETCH', 'prerender', 'manifest', 'icon', 'preload', 'stylesheet']) expect(clean(el('link', { rel, href: 'https://x/' })).attributes).toEqual({});
    expect(clean(el('link', { rel: 'stylesheet', _cssText: 'b{}' })).attributes).toEqual({ rel: 'stylesheet', _cssText: 'b{}' });
    expect(clean(el('meta', { 'http-equiv': 'refresh', content: '0' })).attributes).toEqual({ content: '0' });
  });

  test('keeps pictures that are data, and no address that would be fetched', () => {
    expect(clean(el('img', { src: 'data:image/png;base64,AA' })).attributes).toEqual({ src: 'data:image/png;base64,AA' });
    expect(clean(el('img', { src: '//x/a.png', srcset: 'https://x/ 2x', alt: 'a' })).attributes).toEqual({ alt: 'a' });
    expect(clean(el('video', { poster: 'https://x/', src: 'http://x/', autoplay: '' })).attributes).toEqual({});
    expect(clean(el('iframe', { srcdoc: '<script>', src: 'javascript:x()' })).attributes).toEqual({});
    expect(clean(el('use', { 'xlink:href': 'https://x/#a' })).attributes).toEqual({});
    expect(clean(el('use', { href: '#a' })).attributes).toEqual({ href: '#a' });
    for (const tag of ['img', 'canvas']) {
      expect(clean(el(tag, { rr_dataURL: '/v1/sites/shop.example/export?from=1' })).attributes).toEqual({});
      expect(clean(el(tag, { rr_dataURL: 'data:image/png;base64,AA' })).attributes).toEqual({ rr_dataURL: 'data:image/png;base64,AA' });
    }
    expect(clean(el('iframe', { rr_src: '/v1/me' })).attributes).toEqual({});
  });

  test('keeps where a link leads, unless it leads to a script', () => {
    expect(clean(el('a', { href: 'https://x/' })).attributes).toEqual({ href: 'https://x/' });
    expect(clean(el('a', { href: ' java\nscript:x()' })).attributes).toEqual({});
  });

  test('that is nested without end is refused', () => {
    let node = el('div');
    for (let i = 0; i < DEPTH_MAX + 5; i++) node = el('div', {}, [node]);
    expect(() => clean(node)).toThrow(/deeply/);
  });

  test('of a strange shape does no harm', () => {
    for (const node of [null, 1, 'x', [], { tagName: 5, attributes: 'x', childNodes: 'y' }, el('div', {}, [null, 3, 'x'])]) expect(() => clean(node)).not.toThrow();
    for (const data of [null, undefined, 5, { source: 0, adds: 'x', attributes: [null] }, { source: 8, adds: null }]) expect(() => sanitize({ type: 3, data })).not.toThrow();
  });
});

describe('styles', () => {
  test('lose the addresses outside', () => {
    expect(cleanCss('a{background:url(https://x/a.png) red}')).toBe('a{background:url(data:,) red}');
    expect(cleanCss('a{background:URL( "//x/)" )}')).toBe('a{background:url(data:,)}');
    expect(cleanCss("@import 'https://x/a.css';b{}")).toBe('b{}');
    expect(cleanCss('@import url(https://x/a.css) screen; b{}')).toBe(' b{}');
    expect(cleanCss('a{background:image-set("https://x/a.png" 1x)}')).toBe('a{background:url(data:,)}');
  });

  test('lose them in whatever spelling', () => {
    for (const css of ['a{background:\\75rl("/v1/me")}', 'a{background:\\000055 RL(/v1/me)}', 'a{background:u\\72\r\nl(/v1/me)}', 'a{background:\\u\\r\\l(/v1/me)}', 'a{background:ur\\6c(/v1/me)}']) expect(cleanCss(css)).toBe('a{background:url(data:,)}');
    expect(cleanCss('@\\69mport "/v1/me";b{}')).toBe('b{}');
    expect(cleanCss('@import"/v1/me";b{}')).toBe('b{}');
    expect(cleanCss('a{background:im\\61ge-s\\65t("/v1/me" 1x)}')).toBe('a{background:url(data:,)}');
    // An escape that is made of one that is resolved would be a new one.
    expect(cleanCss('a{background:ur\\6\\63 (/v1/me);color:\\75rl(x)}')).toContain('\\6 c(');
  });

  test('keep the escapes that mean no letter', () => {
    for (const css of ['.md\\:flex{color:red}', '.\\31 0{color:red}', '.\\75rl{color:red}']) expect(cleanCss(css)).toBe(css);
    expect(cleanCss('.md\\:w{background:url(/x)}')).toBe('.md\\:w{background:url(data:,)}');
    expect(cleanCss('.a::before{content:"\\2014 ";background:url(/x)}')).toBe('.a::before{content:"\\2014 ";background:url(data:,)}');
  });

  test('keep what lies inside', () => {
    for (const css of ['a{color:red}', 'a{background:url(data:image/png;base64,AA)}', 'a{background:url("data:image/svg+xml,%3Csvg%3E")}', 'a{filter:url(#f)}']) expect(cleanCss(css)).toBe(css);
  });

  test('are cleaned wherever they stand', () => {
    expect(clean(el('style', {}, [{ type: 3, textContent: 'a{background:url(http://x)}' }])).childNodes).toEqual([{ type: 3, textContent: 'a{background:url(data:,)}' }]);
    expect(clean(el('p', { style: 'background:url(http://x)' })).attributes).toEqual({ style: 'background:url(data:,)' });
    const rule = { source: 8, adds: [{ rule: 'a{background:url(http://x)}' }] };
    sanitize({ type: 3, data: rule });
    expect(rule.adds[0]!.rule).toBe('a{background:url(data:,)}');
    const change = { source: 0, attributes: [{ id: 1, attributes: { style: { background: ['url(http://x)', 'important'] }, rel: 'preconnect', href: 'http://x' } }] };
    sanitize({ type: 3, data: change });
    expect(change.attributes[0]!.attributes).toEqual({ style: { background: ['url(data:,)', 'important'] } });
  });
});

test('a page has the size of a screen', () => {
  const size = (width: unknown, height: unknown) => {
    const data = { width, height };
    sanitize({ type: 4, data });
    return data;
  };
  expect(size(1e9, -1)).toEqual({ width: SIDE_PX_MAX, height: 768 });
  expect(size('x', 600.4)).toEqual({ width: 1024, height: 600 });
});
