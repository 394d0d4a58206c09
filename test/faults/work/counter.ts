import { readFileSync } from 'node:fs';
import type { File } from '../../../client/index.ts';
import { EMPTY, type Hold, TORN, type Write } from '../../history/history.ts';
import { Worker } from './worker.ts';

export const COUNTER = 'counter';
const LOCK_AT = 1 << 20;
const BYTES = 64;

/**
 * Counts up a number under a lock: lost if two ever hold the lock at once, or if a write of before the lock comes after it. Beside the
 * number stands whose it is, so that each has its place in the history.
 */
export class Counter extends Worker {
  counted = 0;
  #file: File | undefined;

  protected override async prepare(): Promise<void> {
    this.#file = await this.client.open(this.path(COUNTER), { access: 'readwrite', disposition: 'openIf' });
  }

  protected async round(): Promise<void> {
    const file = this.#file as File;
    this.at('counting');
    await file.lock(LOCK_AT, 1, { wait: true });
    const resource = `${file.path} ${LOCK_AT}+1`;
    const hold: Hold = { kind: 'hold', client: this.name, resource, exclusive: true, fromMs: performance.now() };
    this.history.add(hold);
    const place = placeOf(this.folder);
    const calledMs = performance.now();
    const before = valueIn(await file.read(0, BYTES));
    this.history.add({
      kind: 'read',
      client: this.name,
      place,
      value: before,
      calledMs,
      returnedMs: performance.now(),
    });
    const value = `${numberOf(before) + 1} ${this.name}/${this.counted + 1}`;
    const write: Write = { kind: 'write', client: this.name, place, value, calledMs: performance.now() };
    this.history.add(write);
    await file.write(0, Buffer.from(value.padEnd(BYTES)));
    write.returnedMs = performance.now();
    this.counted++;
    hold.untilMs = performance.now();
    await file.unlock(LOCK_AT, 1);
    await this.pause(5, 30);
  }

  protected override async finish(): Promise<void> {
    await this.#file?.close();
  }
}

/** What the numbers are in histories. */
export const placeOf = (folder: string): string => `${folder}\\${COUNTER}#number`;

/** The number that stands in a file, as a history's value. */
export function counterValue(path: string): string {
  return valueIn(readFileSync(path).subarray(0, BYTES));
}

export const numberOf = (value: string): number => (value === EMPTY ? 0 : Number.parseInt(value, 10));

function valueIn(bytes: Buffer): string {
  if (bytes.length === 0) return EMPTY;
  const text = bytes.toString('latin1').trimEnd();
  return bytes.length === BYTES && /^\d+ \S+$/.test(text) ? text : TORN;
}
