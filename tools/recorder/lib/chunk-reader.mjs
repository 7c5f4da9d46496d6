// Reads chunk files and chat files, plain or packed by zstd, without holding a whole file.
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export async function readCorpus(dir) {
  const file = join(dir, 'corpus.json');
  let corpus;
  try {
    corpus = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Error(`cannot read ${file}: ${error.message}`);
  }
  if (corpus.version !== 1 || !Array.isArray(corpus.sessions)) throw new Error(`${file} is not a corpus of version 1`);
  return corpus;
}

// The lines of a file, without their ends; an unfinished last line is an error.
export async function* lines(file) {
  let stream;
  let ended = null;
  if (file.endsWith('.zst')) {
    const child = spawn('zstd', ['-dc', '-q', '--long=31', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (d) => { said += d; });
    ended = new Promise((resolve, reject) => {
      child.once('error', (e) => reject(e.code === 'ENOENT' ? new Error('the zstd command is missing') : e));
      child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`zstd failed on ${file}: ${said.trim()}`))));
    });
    ended.catch(() => {});
    stream = child.stdout;
  } else {
    stream = createReadStream(file, { highWaterMark: 1 << 20 });
  }
  let rest = [];
  for await (const block of stream) {
    let from = 0;
    for (let at = block.indexOf(10); at >= 0; at = block.indexOf(10, from)) {
      const piece = block.subarray(from, at);
      if (rest.length) {
        rest.push(piece);
        yield Buffer.concat(rest).toString('utf8');
        rest = [];
      } else {
        yield piece.toString('utf8');
      }
      from = at + 1;
    }
    if (from < block.length) rest.push(Buffer.from(block.subarray(from)));
  }
  if (ended) await ended;
  if (rest.length) throw new Error(`${file}: the last line has no end`);
}

// The chunks of a session: {header, events}, the events as the lines they are.
export async function* chunks(file) {
  let header = null;
  let events = [];
  for await (const line of lines(file)) {
    if (!header) {
      header = JSON.parse(line).chunk;
      if (!header) throw new Error(`${file}: expected a chunk header`);
      events = [];
    } else {
      events.push(line);
    }
    if (events.length === header.events) {
      yield { header, events };
      header = null;
    }
  }
  if (header) throw new Error(`${file}: chunk ${header.seq} has ${events.length} of ${header.events} events`);
}
