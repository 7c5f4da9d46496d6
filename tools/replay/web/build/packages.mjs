// Which npm packages stand in the bundle: those named here, and everything they need at run time.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

// What the page imports.
const SHIPPED = ['svelte', 'rrweb'];
// rrweb comes as one file with these already inside; the file's source map names them.
const INSIDE = ['rrweb-snapshot', 'rrdom', '@rrweb/utils', '@rrweb/types', 'base64-arraybuffer', 'mitt', '@xstate/fsm', 'postcss'];
// Needed to compile or to type-check, and never part of what is shipped.
const COMPILE_ONLY = new Set(['acorn', '@types/estree', '@types/trusted-types', 'aria-query', 'axobject-query', 'devalue', 'esrap', 'is-reference',
  'locate-character', 'magic-string', 'zimmerframe', '@sveltejs/acorn-typescript', '@jridgewell/sourcemap-codec', '@jridgewell/remapping',
  '@jridgewell/trace-mapping', '@jridgewell/gen-mapping', '@jridgewell/resolve-uri', '@types/css-font-loading-module', '@typescript-eslint/types']);

function manifest(name) {
  const dir = join(ROOT, 'node_modules', name);
  return existsSync(join(dir, 'package.json')) ? { dir, ...JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) } : null;
}

function licenceText(dir) {
  const file = readdirSync(dir).find((n) => /^(licen[cs]e|copying)(\.|$)/i.test(n));
  return file ? readFileSync(join(dir, file), 'utf8').trim() : null;
}

export function shipped() {
  const found = new Map();
  const waiting = [...SHIPPED, ...INSIDE];
  while (waiting.length) {
    const name = waiting.pop();
    if (found.has(name) || COMPILE_ONLY.has(name)) continue;
    const m = manifest(name);
    if (!m) throw new Error(`package ${name} is not installed`);
    found.set(name, { name, version: m.version, licence: m.license, text: licenceText(m.dir) });
    waiting.push(...Object.keys(m.dependencies ?? {}));
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
}
