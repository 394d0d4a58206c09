// What the writers see while a step goes on, from the lines that they print once a second.
import type { WriterProgress } from '../../client/cli/report.ts';
import { medianAndMax } from './results.ts';

/** What a line of a writer tells about a step. */
export type Line = Pick<WriterProgress, 'callerErrors' | 'reclaimed' | 'perHandle'>;

export interface Seen {
  handles: number;
  reclaimed: number;
  /** Of the longest gap that each handle saw between two acknowledgements. */
  pauseMs: { p50: number; max: number };
  callerErrors: number;
}

interface Writer {
  /** Its last line, and the one that was the last when the step began. */
  last: Line;
  before: Line;
  /** Of each handle the longest pause that lines since then told of. */
  pausesMs: number[];
}

/**
 * Sums up the lines of a step. A line is about the second before it: what happened at the edges of a step is told to that; exact times
 * are in the reports that writers leave at their end.
 */
export class StepWatch {
  readonly #writers = new Map<string, Writer>();

  line(name: string, line: Line): void {
    const writer = this.#writers.get(name) ?? { last: line, before: line, pausesMs: [] };
    this.#writers.set(name, writer);
    writer.last = line;
    for (const [i, { pauseMs }] of line.perHandle.entries())
      writer.pausesMs[i] = Math.max(writer.pausesMs[i] ?? 0, pauseMs);
  }

  /** A step begins: what was so far is not its doing. */
  begin(): void {
    for (const writer of this.#writers.values()) {
      writer.before = writer.last;
      writer.pausesMs = [];
    }
  }

  /** How many blocks of each handle are known to be acknowledged. */
  blocks(): number[] {
    return [...this.#writers.values()].flatMap(({ last }) => last.perHandle.map(({ ackedBlocks }) => ackedBlocks));
  }

  /** Since the step began. */
  get seen(): Seen {
    const writers = [...this.#writers.values()];
    const sum = (of: (line: Line) => number) =>
      writers.reduce((total, { last, before }) => total + of(last) - of(before), 0);
    const pausesMs = writers.flatMap((writer) => writer.pausesMs);
    return {
      handles: pausesMs.length,
      reclaimed: sum((line) => line.reclaimed),
      pauseMs: medianAndMax(pausesMs),
      callerErrors: sum((line) => line.callerErrors),
    };
  }
}
