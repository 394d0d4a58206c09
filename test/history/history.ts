/** What a slot holds before anybody wrote it. */
export const EMPTY = 'empty';
/** A block that is no whole block: parts of several, or bytes that nobody wrote. */
export const TORN = 'torn';

/** A place that is written and read as a whole: a slot of a file. */
export interface Write {
  kind: 'write';
  client: string;
  /** Path and slot. */
  place: string;
  /** Unique among all writes of the history. */
  value: string;
  /** performance.now() of one process, for all events. */
  calledMs: number;
  /** When the caller heard that it was done; undefined: never, or of an error. It may have been carried out all the same. */
  returnedMs?: number;
}

/** A read that returned. One that did not says nothing. */
export interface Read {
  kind: 'read';
  client: string;
  place: string;
  /** A value written, EMPTY or TORN. */
  value: string;
  calledMs: number;
  returnedMs: number;
}

/** Something that was held: a byte-range lock, or an open with its share mode. */
export interface Hold {
  kind: 'hold';
  client: string;
  /** What must not be held twice: a path, or a path and a range. */
  resource: string;
  /** Two holds that are not exclusive may overlap. */
  exclusive: boolean;
  /** When the grant was answered. */
  fromMs: number;
  /** When giving it back was asked for; undefined: it was held to the end. */
  untilMs?: number;
}

/** A change of a name. Only those are told that may take away what is held. */
export interface Move {
  kind: 'move';
  client: string;
  /** What the name held that is given up: a resource of holds. */
  from: string;
  to: string;
  calledMs: number;
  returnedMs?: number;
}

/** A handle that its server gave up although its timeout was not over. */
export interface LostHandle {
  kind: 'lost';
  client: string;
  path: string;
  reason: string;
  atMs: number;
}

/** An error that reached a caller. */
export interface CallerError {
  kind: 'error';
  client: string;
  doing: string;
  reason: string;
  atMs: number;
}

/**
 * A file server stood still. What it had given to the kernel, or was about to, may be carried out when it goes on, long after its client had
 * the same change done by another server: at most one change a thread of its pool, and nobody in user space can promise more.
 */
export interface Stop {
  kind: 'stopped';
  server: string;
  fromMs: number;
  /** When it was woken up. */
  untilMs: number;
}

export type HistoryEvent = Write | Read | Hold | Move | LostHandle | CallerError | Stop;

/** What clients did and what they were answered, in no particular order. */
export class History {
  readonly events: HistoryEvent[] = [];

  add(event: HistoryEvent): void {
    this.events.push(event);
  }

  /** All events of one kind. */
  of<K extends HistoryEvent['kind']>(kind: K): Extract<HistoryEvent, { kind: K }>[] {
    return this.events.filter((event) => event.kind === kind) as Extract<HistoryEvent, { kind: K }>[];
  }
}
