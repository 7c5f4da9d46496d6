// Splits a stream of NDJSON bytes into lines, whatever the places at which the network cut it.

// A line longer than this is no event: the engine takes chunks of at most 16 MiB.
export const LINE_BYTES_MAX = 64 * 1024 * 1024;

const NEWLINE = 0x0a;

export class LineSplitter {
  #parts: Uint8Array[] = [];
  #waiting = 0;
  #decoder = new TextDecoder();

  /** The whole lines that `bytes` completes, without their newlines; empty lines are dropped. */
  push(bytes: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.#take(lines, bytes.subarray(start, end));
      start = end + 1;
    }
    if (start < bytes.length) {
      this.#waiting += bytes.length - start;
      if (this.#waiting > LINE_BYTES_MAX) throw new Error(`a line is longer than ${LINE_BYTES_MAX} bytes`);
      // A copy: the reader may use its buffer again.
      this.#parts.push(bytes.slice(start));
    }
    return lines;
  }

  /** The last line, if the stream ended without a newline. */
  end(): string[] {
    const lines: string[] = [];
    this.#take(lines, new Uint8Array(0));
    return lines;
  }

  #take(lines: string[], tail: Uint8Array) {
    let line = tail;
    if (this.#parts.length) {
      line = new Uint8Array(this.#waiting + tail.length);
      let at = 0;
      for (const part of this.#parts) {
        line.set(part, at);
        at += part.length;
      }
      line.set(tail, at);
      this.#parts = [];
      this.#waiting = 0;
    }
    if (line.length) lines.push(this.#decoder.decode(line));
  }
}

/** Reads a response body line by line; `each` gets the lines of one network read together. */
export async function readLines(body: ReadableStream<Uint8Array>, each: (lines: string[]) => void | Promise<void>): Promise<void> {
  const reader = body.getReader();
  const splitter = new LineSplitter();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const lines = done ? splitter.end() : splitter.push(value);
      if (lines.length) await each(lines);
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
