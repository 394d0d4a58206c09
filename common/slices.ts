/**
 * Works on items, at most so many at a time: the next slice begins when all of the one before are done.
 * @returns what came of each, in their order. Rejects as the first one does that fails; no slice begins after that.
 */
export async function inSlices<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const slice of chunks(items, atOnce)) results.push(...(await Promise.all(slice.map(work))));
  return results;
}

/**
 * Works on items, at most so many at a time: the next one begins when any of those before it is done. Rejects as the first one does that
 * fails; none begins after that.
 */
export async function inTurns<T>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let hasFailed = false;
  const worker = async () => {
    for (let next = left.next(); !next.done && !hasFailed; next = left.next()) {
      await work(next.value).catch((error: unknown) => {
        hasFailed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** A list in pieces of at most so many items, in their order. */
export function chunks<T>(list: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let i = 0; i < list.length; i += size) result.push(list.slice(i, i + size));
  return result;
}
