// Decides what is a thumbnail, and which are kept: the newest that fit into a budget of bytes.

import type { Thumbnail } from './store.js';

/** Of one thumbnail, whatever the budget: no store reads a larger one. */
export const MOST_THUMBNAIL_BYTES = 64 << 20;

const IMAGE_TYPE = /^image\/[a-z0-9.+-]{1,32}$/;

/** A media type without its parameters; undefined where it is not that of an image. */
export function imageType(type: string): string | undefined {
  const [essence = ''] = type.toLowerCase().split(';');
  return IMAGE_TYPE.test(essence.trim()) ? essence.trim() : undefined;
}

/** Of a type that every store and archive takes: where it says none, what its first bytes say. */
export function asThumbnail({ type, bytes }: Thumbnail): Thumbnail {
  return { type: imageType(type) ?? typeByBytes(bytes), bytes };
}

function typeByBytes(bytes: Uint8Array): string {
  const begins = String.fromCharCode(...bytes.subarray(0, 12));
  if (begins.startsWith('\x89PNG')) return 'image/png';
  if (begins.startsWith('GIF8')) return 'image/gif';
  return /^RIFF.{4}WEBP/s.test(begins) ? 'image/webp' : 'image/jpeg';
}

/** Sizes of what is kept, by the ids of the episodes. Ids grow with time, so that the smallest is the oldest. */
export class ThumbnailBudget {
  readonly #limit: number;
  readonly #sizes = new Map<number, number>();
  #bytes = 0;

  /** At most `limit` bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  has(id: number): boolean {
    return this.#sizes.has(id);
  }

  ids(): Iterable<number> {
    return this.#sizes.keys();
  }

  /** Counts a thumbnail in. The ids of those that have to make room; its own where it does not fit at all. */
  add(id: number, bytes: number): number[] {
    this.remove(id);
    if (bytes > Math.min(this.#limit, MOST_THUMBNAIL_BYTES)) return [id];
    this.#sizes.set(id, bytes);
    this.#bytes += bytes;
    return this.#evict();
  }

  remove(id: number): void {
    this.#bytes -= this.#sizes.get(id) ?? 0;
    this.#sizes.delete(id);
  }

  /** Begins anew with what is there. The ids of those that do not fit. */
  reset(sizes: ReadonlyMap<number, number>): number[] {
    this.#sizes.clear();
    this.#bytes = 0;
    for (const [id, bytes] of sizes) {
      this.#sizes.set(id, bytes);
      this.#bytes += bytes;
    }
    return this.#evict();
  }

  #evict(): number[] {
    const evicted: number[] = [];
    if (this.#bytes <= this.#limit) return evicted;
    for (const id of [...this.#sizes.keys()].sort((a, b) => a - b)) {
      if (this.#bytes <= this.#limit) break;
      this.remove(id);
      evicted.push(id);
    }
    return evicted;
  }
}
