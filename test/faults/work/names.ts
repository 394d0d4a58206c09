import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SmbError } from '../../../client/errors.ts';
import type { Move } from '../../history/history.ts';
import { lateOnes } from '../../history/late.ts';
import { Worker, type WorkerParts } from './worker.ts';

export const GOAL = 'Goal';
const GOALS = [GOAL, GOAL.toLowerCase(), GOAL.toUpperCase()];

/** Gives its file a name that others want too, in another case, and takes it away again: one at a time can have it. */
export class Names extends Worker {
  readonly #own = `own-${this.name}`;
  readonly #volume: string;
  readonly #moves: Move[] = [];
  /** The name that the file has, as far as is known: that of the last rename that was answered. */
  place = this.#own;

  constructor(parts: WorkerParts, volume: string) {
    super(parts);
    this.#volume = volume;
  }

  protected override async prepare(): Promise<void> {
    const file = await this.client.open(this.path(this.#own), { access: 'write', disposition: 'create' });
    await file.write(0, Buffer.from(this.name));
    await file.close();
  }

  protected async round(): Promise<void> {
    const goal = this.random.pick(GOALS);
    this.at(`taking ${goal}`);
    if (!(await this.#tryRename(goal))) return this.pause(10, 60);
    const hold = {
      kind: 'hold' as const,
      client: this.name,
      resource: this.path(GOAL),
      exclusive: true,
      fromMs: performance.now(),
      untilMs: undefined as number | undefined,
    };
    this.history.add(hold);
    await this.pause(0, 40);
    this.at(`leaving ${goal}`);
    hold.untilMs = performance.now();
    await this.#leave(goal);
    await this.pause(0, 40);
  }

  async #tryRename(goal: string): Promise<boolean> {
    try {
      await this.#move(this.#own, goal);
      return true;
    } catch (error) {
      const { code } = error as SmbError;
      if (code === 'STATUS_OBJECT_NAME_COLLISION' || code === 'STATUS_ACCESS_DENIED') return false;
      const late = this.#foundAfterLateMove(code);
      if (late === undefined) throw error;
      if (late !== this.#own) await this.#leave(late);
      return false;
    }
  }

  async #leave(goal: string): Promise<void> {
    try {
      await this.#move(goal, this.#own);
    } catch (error) {
      if (this.#foundAfterLateMove((error as SmbError).code) !== this.#own) throw error;
      this.place = this.#own;
    }
  }

  async #move(from: string, to: string): Promise<void> {
    const calledMs = performance.now();
    const resource = (name: string) => this.path(GOALS.includes(name) ? GOAL : name);
    const move: Move = { kind: 'move', client: this.name, from: resource(from), to: resource(to), calledMs };
    this.#moves.push(move);
    this.history.add(move);
    await this.client.rename(this.path(from), this.path(to));
    move.returnedMs = performance.now();
    this.place = to;
  }

  /**
   * Where its file is though it was not found where it ought to be: a rename of its own that was under way when a server was stopped may be carried
   * out once more when that one goes on (docs/failure-modes.md). undefined: that explains nothing.
   */
  #foundAfterLateMove(code: string): string | undefined {
    if (code !== 'STATUS_OBJECT_NAME_NOT_FOUND') return undefined;
    const late = lateOnes(this.#moves, this.history.of('stopped'));
    if (!late.some(({ fromMs }) => fromMs <= performance.now())) return undefined;
    const isOwn = (name: string) => {
      const onVolume = join(this.#volume, this.folder, name);
      return existsSync(onVolume) && readFileSync(onVolume, 'utf8') === this.name;
    };
    return [this.#own, ...GOALS].find(isOwn);
  }
}
