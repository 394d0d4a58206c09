/**
 * Works on items, at most so many at a time: the next slice begins when all of the one before are done.
 * @returns what came of each, in their order. Rejects as the first one does that fails; no slice begins after that.
 */
export async function inSlices<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const slice of chunks(items, atOnce)) results.push(...(await Promise.all(slice.map(work))));
  return results;
}

/** A list in pieces of at most so many items, in their order. */
export function chunks<T>(list: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let i = 0; i < list.length; i += size) result.push(list.slice(i, i + size));
  return result;
}
