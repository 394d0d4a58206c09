/** Room in the thread pool for the calls of one volume. */
export interface Slots {
  /** undefined: taken at once; else resolves when a thread is free for the caller. Every acquire needs one release. */
  acquire(): Promise<void> | undefined;
  release(): void;
}

/**
 * Counts the threads of libuv's pool (UV_THREADPOOL_SIZE), so that nothing is ever queued inside it: what is checked before
 * a system call (the deadline) still holds when the call begins. A volume gets at most three quarters of the threads: one
 * that hangs leaves the others working.
 */
export class ThreadSlots {
  #free: number;
  readonly #mostPerVolume: number;
  readonly #volumes = new Set<VolumeSlots>();

  /** `threads`: of the pool; one of them stays free for what else needs it (names, files of the configuration). */
  constructor(threads: number = Number(process.env.UV_THREADPOOL_SIZE ?? 4)) {
    this.#free = Math.max(1, threads - 1);
    this.#mostPerVolume = Math.max(1, Math.floor((this.#free * 3) / 4));
  }

  forVolume(): Slots {
    const slots = new VolumeSlots(this, this.#mostPerVolume);
    this.#volumes.add(slots);
    return slots;
  }

  take(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
    for (const volume of this.#volumes) {
      if (this.#free === 0) return;
      if (volume.admitOne()) {
        // The next thread goes to another volume first.
        this.#volumes.delete(volume);
        this.#volumes.add(volume);
      }
    }
  }
}

class VolumeSlots implements Slots {
  readonly #threads: ThreadSlots;
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(threads: ThreadSlots, most: number) {
    this.#threads = threads;
    this.#free = most;
  }

  acquire(): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#free > 0 && this.#threads.take()) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    this.#free++;
    this.#threads.give();
  }

  /** Lets one waiting call begin if there is room. */
  admitOne(): boolean {
    if (this.#waiting.length === 0 || this.#free === 0 || !this.#threads.take()) return false;
    this.#free--;
    this.#waiting.shift()?.();
    return true;
  }
}
