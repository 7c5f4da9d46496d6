// Shows recorded canvases without giving the replay frame the right to run scripts, which rrweb's own way needs. The recorder samples a
// canvas as pictures; the newest picture becomes the element's background.
import type { Replayer } from 'rrweb';

interface Mutation { source: number; id: number; commands?: Command[]; property?: unknown; args?: unknown }
interface Command { property?: unknown; args?: unknown }

const CANVAS_MUTATION = 9;
// Only pictures; anything else stays out of the frame.
const PICTURE = /^image\/(webp|png|jpeg)$/;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** The picture that a `drawImage` of a sampled canvas carries, as a data address. */
export function picture(command: Command): string | null {
  if (command.property !== 'drawImage' || !Array.isArray(command.args)) return null;
  const bitmap = command.args[0] as { rr_type?: unknown; args?: unknown } | undefined;
  const blob = Array.isArray(bitmap?.args) ? (bitmap.args[0] as { rr_type?: unknown; type?: unknown; data?: unknown } | undefined) : undefined;
  const buffer = Array.isArray(blob?.data) ? (blob.data[0] as { base64?: unknown } | undefined) : undefined;
  if (bitmap?.rr_type !== 'ImageBitmap' || blob?.rr_type !== 'Blob' || typeof blob.type !== 'string' || typeof buffer?.base64 !== 'string') return null;
  return PICTURE.test(blob.type) && BASE64.test(buffer.base64) ? `data:${blob.type};base64,${buffer.base64}` : null;
}

// Without scripts a canvas is laid out like any inline element; this gives it its size back, below every rule of the page itself.
export const CANVAS_RULE = ':where(canvas) { display: inline-block; width: var(--reelvault-width); height: auto; aspect-ratio: var(--reelvault-ratio) }';

export class CanvasPictures {
  #newest = new Map<number, string>();
  #dirty = new Set<number>();

  plugin() {
    return {
      handler: (event: unknown, isSync: boolean, { replayer }: { replayer: Replayer }) => this.#take(event, isSync, replayer),
      onBuild: (node: unknown, { id }: { id: number }) => { if (this.#newest.has(id)) this.#paint(node, id); },
    };
  }

  /** After a jump: the frame's nodes are there only now. */
  flush(replayer: Replayer) {
    for (const id of this.#dirty) this.#paint(replayer.getMirror().getNode(id), id);
    this.#dirty.clear();
  }

  #take(event: unknown, isSync: boolean, replayer: Replayer) {
    const { type, data } = event as { type: number; data: Mutation };
    if (type === 2) this.#newest.clear();
    if (type !== 3 || data?.source !== CANVAS_MUTATION) return;
    const commands = Array.isArray(data.commands) ? data.commands : [data];
    const found = commands.map(picture).filter((p) => p !== null).pop();
    if (!found) return;
    this.#newest.set(data.id, found);
    if (isSync) this.#dirty.add(data.id);
    else this.#paint(replayer.getMirror().getNode(data.id), data.id);
  }

  // The node lives in another document, so `instanceof` does not know it.
  #paint(node: unknown, id: number) {
    const el = node as HTMLCanvasElement | null;
    const url = this.#newest.get(id);
    if (!el || !url || el.nodeName !== 'CANVAS') return;
    const size = (name: string, otherwise: number) => Math.min(16_384, Math.max(1, Number(el.getAttribute(name)) || otherwise));
    const [w, h] = [size('width', 300), size('height', 150)];
    el.style.setProperty('--reelvault-width', `${w}px`);
    el.style.setProperty('--reelvault-ratio', `${w} / ${h}`);
    el.style.background = `url("${url}") 0 0 / 100% 100% no-repeat`;
  }
}
