/** Opens whose decision is under way. A client may ask for one several times at once, by several sessions. */
export class Asking {
  readonly #counts = new Map<bigint, number>();

  add(openId: bigint): void {
    this.#counts.set(openId, (this.#counts.get(openId) ?? 0) + 1);
  }

  delete(openId: bigint): void {
    const left = (this.#counts.get(openId) ?? 0) - 1;
    if (left > 0) this.#counts.set(openId, left);
    else this.#counts.delete(openId);
  }

  /** @param byOthers whoever wants to know asks for it, too: is there anybody else? */
  has(openId: bigint, byOthers = false): boolean {
    return (this.#counts.get(openId) ?? 0) > (byOthers ? 1 : 0);
  }
}
