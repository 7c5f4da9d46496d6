// Prints what the built page weighs, and fails when it weighs too much.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ROOT } from './packages.mjs';

// Scripts and styles together, gzip: what a first visit waits for on a slow line.
const GZIP_KB_MAX = 190;

let sum = 0;
const dir = join(ROOT, 'dist/assets');
for (const name of readdirSync(dir).sort()) {
  const bytes = readFileSync(join(dir, name));
  const gzip = gzipSync(bytes, { level: 9 }).length;
  if (/\.(js|css)$/.test(name)) sum += gzip;
  console.log(`${name.padEnd(32)} ${(bytes.length / 1024).toFixed(1).padStart(8)} KB ${(gzip / 1024).toFixed(1).padStart(8)} KB gzip`);
}
console.log(`${'scripts and styles'.padEnd(32)} ${''.padStart(11)} ${(sum / 1024).toFixed(1).padStart(8)} KB gzip (at most ${GZIP_KB_MAX})`);
if (sum > GZIP_KB_MAX * 1024) process.exitCode = 1;
