/**
 * A Map for things that come and go by the thousand a second: what has left it can be collected at once.
 *
 * A Map of V8 that entries are deleted from moves to a new table time and again, and each table that it leaves points to the next one, for the sake of
 * iterators. Once one of them is in the old generation, as after any full collection, it keeps its successors, and all that was in them, until
 * the next full collection: what should have died young is copied from generation to generation. Here such tables lead to empty cells.
 */
export class ChurningMap<K, V extends NonNullable<unknown>> {
  readonly #cells = new Map<K, { value: V | undefined }>();

  get size(): number {
    return this.#cells.size;
  }

  get(key: K): V | undefined {
    return this.#cells.get(key)?.value;
  }

  has(key: K): boolean {
    return this.#cells.has(key);
  }

  set(key: K, value: V): this {
    const cell = this.#cells.get(key);
    if (cell) cell.value = value;
    else this.#cells.set(key, { value });
    return this;
  }

  /** @returns whether it was there */
  delete(key: K): boolean {
    return this.take(key) !== undefined;
  }

  /** Deletes an entry. @returns its value; undefined: it was not there */
  take(key: K): V | undefined {
    const cell = this.#cells.get(key);
    if (!cell) return undefined;
    const { value } = cell;
    cell.value = undefined;
    this.#cells.delete(key);
    return value;
  }

  clear(): void {
    for (const cell of this.#cells.values()) cell.value = undefined;
    this.#cells.clear();
  }

  keys(): MapIterator<K> {
    return this.#cells.keys();
  }

  /** In the order in which the keys came, those too that come meanwhile. */
  *values(): Generator<V, undefined> {
    for (const { value } of this.#cells.values()) yield value as V;
  }

  *[Symbol.iterator](): Generator<[K, V], undefined> {
    for (const [key, { value }] of this.#cells) yield [key, value as V];
  }
}
