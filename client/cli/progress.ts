/** How often a progress line is drawn anew. */
const INTERVAL_MS = 200;
/** What is done sooner needs no progress line. */
const QUIET_MS = 500;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A size for people: 1.5 MiB. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** A progress line on standard error, if that is a terminal. */
export class Progress {
  readonly #total: number | undefined;
  readonly #name: string;
  readonly #startedMs = performance.now();
  #done = 0;
  #drawn = false;
  #timer: NodeJS.Timeout | undefined;

  /** `total`: bytes, where it is known. */
  constructor(name: string, total: number | undefined) {
    this.#name = name;
    this.#total = total;
    if (process.stderr.isTTY) this.#timer = setInterval(() => this.#draw(), INTERVAL_MS);
  }

  add(bytes: number): void {
    this.#done += bytes;
  }

  get done(): number {
    return this.#done;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#drawn) process.stderr.write('\r\x1b[K');
  }

  #draw(): void {
    const elapsedMs = performance.now() - this.#startedMs;
    if (elapsedMs < QUIET_MS) return;
    this.#drawn = true;
    const of =
      this.#total === undefined
        ? ''
        : ` of ${sizeText(this.#total)} (${Math.floor((100 * this.#done) / Math.max(this.#total, 1))}%)`;
    process.stderr.write(
      `\r\x1b[K${this.#name}: ${sizeText(this.#done)}${of}, ${sizeText(this.#done / (elapsedMs / 1000))}/s`,
    );
  }
}
