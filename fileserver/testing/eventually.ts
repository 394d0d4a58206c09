/** Resolves when `isTrue` is; rejects with what was waited for after `withinMs`. */
export async function eventually(what: string, isTrue: () => boolean, withinMs = 5000): Promise<void> {
  const giveUpAtMs = performance.now() + withinMs;
  while (!isTrue()) {
    if (performance.now() > giveUpAtMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
