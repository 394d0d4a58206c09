import type { SmbError } from '../../../client/errors.ts';
import { Worker } from './worker.ts';

export const GOAL = 'Goal';

/** Gives its file a name that others want too, in another case, and takes it away again: one at a time can have it. */
export class Names extends Worker {
  readonly #own = `own-${this.name}`;
  /** The name that the file has, as far as is known: that of the last rename that was answered. */
  place = this.#own;

  protected override async prepare(): Promise<void> {
    const file = await this.client.open(this.path(this.#own), { access: 'write', disposition: 'create' });
    await file.write(0, Buffer.from(this.name));
    await file.close();
  }

  protected async round(): Promise<void> {
    const goal = this.random.pick([GOAL, GOAL.toLowerCase(), GOAL.toUpperCase()]);
    this.at(`taking ${goal}`);
    if (!(await this.#tryRename(goal))) return this.pause(10, 60);
    this.place = goal;
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
    await this.client.rename(this.path(goal), this.path(this.#own));
    this.place = this.#own;
    await this.pause(0, 40);
  }

  async #tryRename(goal: string): Promise<boolean> {
    try {
      await this.client.rename(this.path(this.#own), this.path(goal));
      return true;
    } catch (error) {
      const { code } = error as SmbError;
      if (code === 'STATUS_OBJECT_NAME_COLLISION' || code === 'STATUS_ACCESS_DENIED') return false;
      throw error;
    }
  }
}
