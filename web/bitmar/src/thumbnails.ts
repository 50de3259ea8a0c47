// Decides which thumbnails are kept: the newest that fit into a budget of bytes.

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
    if (bytes > this.#limit) return [id];
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
