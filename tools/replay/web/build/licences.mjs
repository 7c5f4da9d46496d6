// Writes the list of licences that the page links to.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, shipped } from './packages.mjs';

const RULE = '-'.repeat(78);
const parts = shipped().map((p) => [
  RULE, `${p.name} ${p.version}    ${p.licence}`, RULE, '',
  p.text ?? `(The package carries no licence file; its package.json says ${p.licence}.)`, '',
].join('\n'));
const head = `reelvault's replay page is Apache-2.0 OR MIT. It ships code of these packages:\n\n${
  shipped().map((p) => `  ${p.name} ${p.version} (${p.licence})`).join('\n')}\n\n`;

mkdirSync(join(ROOT, 'src/generated'), { recursive: true });
writeFileSync(join(ROOT, 'src/generated/licences.txt'), head + parts.join('\n'));
