import { describe, expect, test } from 'vitest';
import { LINE_BYTES_MAX, LineSplitter, readLines } from '../src/lib/ndjson';

const bytes = (text: string) => new TextEncoder().encode(text);

function stream(parts: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({ start(c) { for (const p of parts) c.enqueue(p); c.close(); } });
}

describe('the NDJSON splitter', () => {
  test('gives the same lines wherever the stream is cut', async () => {
    const text = '{"a":"é€😀"}\n{"b":2}\n\n{"c":"last, without a newline"}';
    const want = ['{"a":"é€😀"}', '{"b":2}', '{"c":"last, without a newline"}'];
    const all = bytes(text);
    for (let cut = 0; cut <= all.length; cut++) {
      const got: string[] = [];
      await readLines(stream([all.slice(0, cut), all.slice(cut)]), (lines) => { got.push(...lines); });
      expect(got).toEqual(want);
    }
  });

  test('works byte by byte', () => {
    const splitter = new LineSplitter();
    const got = [...bytes('ü\nzwei\n')].flatMap((b) => splitter.push(Uint8Array.of(b)));
    expect([...got, ...splitter.end()]).toEqual(['ü', 'zwei']);
  });

  test('keeps a part although the reader uses its buffer again', () => {
    const splitter = new LineSplitter();
    const buffer = bytes('half');
    splitter.push(buffer);
    buffer.fill(0x78);
    expect(splitter.push(bytes(' and half\n'))).toEqual(['half and half']);
  });

  test('refuses a line without end', () => {
    const splitter = new LineSplitter();
    const part = new Uint8Array(LINE_BYTES_MAX / 2);
    splitter.push(part);
    splitter.push(part);
    expect(() => splitter.push(bytes('x'))).toThrow(/longer/);
  });

  test('stops reading when the taker fails', async () => {
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({ pull(c) { c.enqueue(bytes('x\n')); }, cancel() { cancelled = true; } });
    await expect(readLines(endless, () => { throw new Error('enough'); })).rejects.toThrow('enough');
    expect(cancelled).toBe(true);
  });
});
