import { LeaseState } from '../constants.ts';

const { READ, HANDLE, WRITE } = LeaseState;

/** A lease, or an oplock kept like one: who caches what of a file. */
export interface ModelHolder {
  isLease: boolean;
  /** As of a lease (MS-SMB2 2.2.13.2.8). */
  state: number;
  /** What a break under way asks for. */
  to: number | undefined;
  /** What it has to come to in the end. */
  required: number;
  epoch: number;
  /** An open waits for what this holder has to give up, or has not asked again since. */
  wanted?: boolean;
}

/** Where the client of a holder is: at a live server, away with an open that is persistent, or durable, or gone with its server. */
export type Presence = 'here' | 'persistent' | 'durable' | 'gone';

export interface ModelContention {
  waits: boolean;
  waitsFor: ModelHolder[];
  away: boolean;
  purge: boolean;
}

/** The caching of one file in the reference model: MS-FSA 2.1.4.12 and 2.1.5.18, with what MS-SMB2 3.3.5.9.8 says of leases. */
export class ModelCaching {
  holders = new Map<string, ModelHolder>();
  readonly #presence: (holder: string) => Presence;

  constructor(presence: (holder: string) => Presence) {
    this.#presence = presence;
  }

  clone(): ModelCaching {
    const copy = new ModelCaching(this.#presence);
    copy.holders = new Map([...this.holders].map(([id, holder]) => [id, { ...holder }]));
    return copy;
  }

  get readCached(): boolean {
    return [...this.holders.values()].some(({ state }) => (state & READ) !== 0);
  }

  /** Others than `mine` may keep only `keep`; holders of a bit in `waitFor` give it up first. */
  contend(
    mine: string | undefined,
    keep: number,
    waitFor: number,
    again: boolean,
    concerns: (holder: ModelHolder) => boolean = () => true,
  ): ModelContention {
    const result: ModelContention = { waits: false, waitsFor: [], away: false, purge: false };
    for (const [id, holder] of [...this.holders]) {
      const isOwnLevelTwo = id === mine && !holder.isLease && holder.state === READ;
      if (holder.state === 0 || (id === mine && !isOwnLevelTwo) || !concerns(holder)) continue;
      const to = kept(holder, keep);
      const wasBreaking = holder.to !== undefined;
      if (to === holder.state && !wasBreaking) continue;
      const presence = this.#presence(id);
      if (presence === 'gone') this.holders.delete(id);
      else if (presence !== 'here') {
        if (to === holder.state) continue;
        if (presence === 'persistent') result.away = true;
        else result.purge = true;
      } else if (to === holder.state) {
        if (waitFor !== 0 || again) result.waitsFor.push(holder);
      } else {
        const mustWait = (again && wasBreaking) || (holder.state & waitFor) !== 0;
        if (wasBreaking) holder.required &= to;
        else this.#begin(id, holder, to, false);
        if (mustWait && holder.to !== undefined) result.waitsFor.push(holder);
      }
    }
    result.waits = result.waitsFor.length > 0;
    return result;
  }

  /** An open has got past what the holders but its own had to give up. */
  unwanted(mine: string | undefined): void {
    for (const [id, holder] of this.holders) if (id !== mine) holder.wanted = false;
  }

  /** @param others opens of the file for more than attributes that do not belong to the holder */
  grantable(mine: string | undefined, wanted: number, isLease: boolean, others: number, hasLocks: boolean): number {
    const rest = [...this.holders]
      .filter(([id, { state }]) => id !== mine && state !== 0 && this.#presence(id) !== 'gone')
      .map(([, holder]) => holder);
    if (rest.some(({ state }) => (state & WRITE) !== 0)) return 0;
    const want = rest.length > 0 || others > 0 ? wanted & ~WRITE : wanted;
    if (hasLocks) return 0;
    if ((want & WRITE) !== 0) return want;
    if (!isLease) return rest.some((holder) => holder.isLease && (holder.state & HANDLE) !== 0) ? 0 : want & READ;
    return rest.some((holder) => !holder.isLease) ? want & READ : want;
  }

  /** undefined: there is no such holder. @param cached undefined: not acknowledged in time */
  acknowledge(id: string, cached: number | undefined): 'done' | 'not breaking' | 'not accepted' | undefined {
    const holder = this.holders.get(id);
    if (!holder) return undefined;
    if (holder.to === undefined) return 'not breaking';
    const isMore = cached !== undefined && (cached & ~holder.to) !== 0;
    if (isMore && holder.isLease) return 'not accepted';
    holder.state = isMore ? 0 : (cached ?? 0);
    holder.to = undefined;
    const { required } = holder;
    const to = holder.state & required;
    if (to !== holder.state && this.#presence(id) === 'here') {
      this.#begin(id, holder, to === 0 && holder.state !== READ ? READ : to, true);
      if (holder.to !== undefined) holder.required = to;
    }
    if (holder.state === 0 && !holder.isLease) this.holders.delete(id);
    return isMore ? 'not accepted' : 'done';
  }

  #begin(id: string, holder: ModelHolder, to: number, goesOn: boolean): void {
    if (!goesOn) holder.epoch = (holder.epoch + 1) % 65_536;
    if (holder.state === READ) {
      holder.state = to;
      if (to === 0 && !holder.isLease) this.holders.delete(id);
      return;
    }
    holder.to = to;
    holder.required = to;
  }
}

/** States without R there are none; an oplock is broken to level II or to none. */
function kept({ isLease, state }: ModelHolder, keep: number): number {
  const left = state & keep;
  if (left === state) return state;
  if (!isLease) return left & READ;
  return (left & READ) !== 0 ? left : 0;
}
