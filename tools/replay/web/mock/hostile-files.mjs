#!/usr/bin/env node
// Writes the hostile recordings as files that `reelvault import` takes, so that the real service can be tested with them:
//   node mock/hostile-files.mjs FOLDER [ADDRESS THAT THEY WANT TO REACH]
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostileSessions } from './hostile.mjs';

const [folder, outside = 'http://127.0.0.1:9'] = process.argv.slice(2);
if (!folder) {
  process.stderr.write('name a folder: node mock/hostile-files.mjs FOLDER [ADDRESS]\n');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
for (const [n, s] of hostileSessions(outside, Date.now() - 3_600_000).entries()) {
  if (s.kind === 'chat') {
    const lines = s.messages.map((m) => JSON.stringify({ timestamp: m.at_ms, session: s.id, visitor: s.visitor, from: m.from, text: m.text }));
    writeFileSync(join(folder, `hostile-${n}.chat.jsonl`), `${lines.join('\n')}\n`);
    continue;
  }
  const { lines } = s.recording.chunks[0];
  const chunk = { session: s.id, visitor: s.visitor, seq: 0, first_ms: s.first_ms, last_ms: s.last_ms, events: lines.length, attributes: s.attributes };
  writeFileSync(join(folder, `hostile-${n}.chunks.ndjson`), `${JSON.stringify({ chunk })}\n${lines.join('\n')}\n`);
}
