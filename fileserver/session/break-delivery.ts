/** With a notification on its way, TCP may bring nothing to the client for so long, ms, where it can be told on another channel. */
const DELIVERY_MS = 3000;
/** And so long where it has no other: about what Windows' TCP waits before it takes a connection for lost. */
const ONLY_CHANNEL_MS = 20_000;
const CHECK_MS = 500;

/** What is known of a connection's bytes, counted from its beginning. */
export interface Transport {
  /** Handed over to be sent; undefined: something waits to be handed over. */
  readonly written: number | undefined;
  /** Of them, those that the client's TCP has acknowledged; undefined: not known. */
  readonly acknowledged: number | undefined;
}

interface OnItsWay {
  readonly sinceMs: number;
  /** Acknowledged up to here, it has arrived; undefined: not handed over yet. */
  end: number | undefined;
  /** The client can be told by another channel. */
  readonly hasOther: () => boolean;
  readonly lost: () => void;
}

/**
 * The notifications of breaks that a connection has not brought to its client yet. Unlike a response nobody asks for them again: one that is
 * lost with its connection, or that TCP cannot deliver while others wait for the client, is sent on another channel (MS-SMB2 3.3.4.6,
 * 3.3.4.7). A client that cannot be reached at all is taken for gone (3.3.7.1).
 */
export class BreakDelivery {
  readonly #transport: Transport;
  /** Ends the connection: its channels are taken for lost. */
  readonly #giveUp: () => void;
  #onTheirWay: OnItsWay[] = [];
  /** What was acknowledged last, and when it was less. */
  #acknowledged: number | undefined;
  #progressMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(transport: Transport, giveUp: () => void) {
    this.#transport = transport;
    this.#giveUp = giveUp;
  }

  /** @param lost called once where the connection ends before the notification has arrived */
  sent(hasOther: () => boolean, lost: () => void): void {
    this.#onTheirWay.push({ sinceMs: performance.now(), end: undefined, hasOther, lost });
    this.#timer ??= setInterval(() => this.#check(), CHECK_MS).unref();
  }

  /** The connection is gone. */
  ended(): void {
    clearInterval(this.#timer);
    for (const { lost } of this.#onTheirWay.splice(0)) lost();
  }

  #check(): void {
    const { written, acknowledged } = this.#transport;
    for (const one of this.#onTheirWay) one.end ??= written;
    this.#onTheirWay = this.#onTheirWay.filter(
      ({ end }) => end === undefined || (acknowledged !== undefined && acknowledged < end),
    );
    const nowMs = performance.now();
    // A slow network is not a dead one.
    if (acknowledged !== this.#acknowledged) this.#progressMs = nowMs;
    this.#acknowledged = acknowledged;
    const isLate = ({ sinceMs, hasOther }: OnItsWay) =>
      nowMs - Math.max(sinceMs, this.#progressMs) >= (hasOther() ? DELIVERY_MS : ONLY_CHANNEL_MS) &&
      acknowledged !== undefined;
    if (this.#onTheirWay.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    } else if (this.#onTheirWay.some(isLate)) {
      this.#giveUp();
    }
  }
}
