import type { Move, Stop } from './history.ts';

/** A stopped server's threads go on within this time after it was woken up. */
const GO_ON_MS = 1000;

/** A change that was under way when a server was stopped, and may be carried out (once more) when it goes on. */
export interface Late<T> {
  change: T;
  /** Not before. */
  fromMs: number;
  /** Not after. */
  untilMs: number;
}

/** Which changes may come late: those that were asked for and not answered when a server was stopped. */
export function lateOnes<T extends { calledMs: number; returnedMs?: number }>(
  changes: readonly T[],
  stops: readonly Stop[],
): Late<T>[] {
  return stops.flatMap(({ fromMs, untilMs }) =>
    changes
      .filter(({ calledMs, returnedMs = Number.POSITIVE_INFINITY }) => calledMs <= fromMs && returnedMs >= fromMs)
      .map((change) => ({ change, fromMs: untilMs, untilMs: untilMs + GO_ON_MS })),
  );
}

/**
 * Renames that may have taken a name away from a client that had been given it anew: it had been leaving it when a server was stopped, and left
 * it once more when that one went on. Each does so at most once.
 */
export class LateMoves {
  readonly #late: (Late<Move> & { undid?: object })[];

  constructor(moves: readonly Move[], stops: readonly Stop[]) {
    this.#late = lateOnes(moves, stops);
  }

  /** Whether what a client had been given was taken away so, before somebody else was given it. */
  undid(hold: { client: string; resource: string; fromMs: number }, beforeMs: number): boolean {
    const late = this.#late.find(
      ({ change, fromMs, untilMs, undid = hold }) =>
        undid === hold &&
        change.client === hold.client &&
        change.from === hold.resource &&
        hold.fromMs <= untilMs &&
        fromMs <= beforeMs,
    );
    if (late) late.undid = hold;
    return late !== undefined;
  }
}
