import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { monotonicMs } from '../../common/time.ts';
import { Understanding } from '../constants.ts';
import { mayBeFleeting, type Table } from '../table/table.ts';
import type { ClusterView } from './cluster.ts';

const AT_ONCE = 256;
const RETRY_MS = 1000;
/** Once more after so long: what was asked for while records still could be fleeting is decided by then. */
const ROUNDS = 2;
const AGAIN_MS = 10_000;

/**
 * Has the records of our opens last once a sidecar has come that does not know fleeting ones (decision 27), in a rollback: what it wrote
 * into one would be all that copies of the store have of it.
 */
export class Lasting {
  readonly #table: Table;
  readonly #cluster: ClusterView;
  readonly #log: Logger;
  #roundsLeft = ROUNDS;
  #nextMs = 0;
  #running = false;

  constructor(table: Table, cluster: ClusterView, log: Logger) {
    this.#table = table;
    this.#cluster = cluster;
    this.#log = log;
  }

  /** The cluster was looked at. */
  looked(): void {
    if (this.#cluster.understanding >= Understanding.FLEETING) {
      this.#roundsLeft = ROUNDS;
      this.#nextMs = 0;
      return;
    }
    if (this.#roundsLeft === 0 || this.#running || monotonicMs() < this.#nextMs) return;
    this.#running = true;
    void this.#round().finally(() => {
      this.#running = false;
    });
  }

  async #round(): Promise<void> {
    this.#nextMs = monotonicMs() + AGAIN_MS;
    this.#roundsLeft--;
    try {
      for (const member of this.#cluster.members.values()) {
        const opens = [...member.opens.values()].filter(({ record }) => mayBeFleeting(record));
        // Whatever looks at a record has it last.
        await inSlices(opens, AT_ONCE, ({ record: { fileId, openId } }) =>
          this.#table.state(member.identity, fileId, 'look', openId),
        );
      }
    } catch (error) {
      this.#log.info({ reason: reasonOf(error) }, 'records that an earlier version does not know stay for now');
      this.#nextMs = monotonicMs() + RETRY_MS;
      this.#roundsLeft++;
    }
  }
}
