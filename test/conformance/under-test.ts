import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAddress } from '../../client/connect/address.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { Balancer } from './balancer.ts';
import { type Result, runTest } from './smbtorture.ts';
import type { Variant } from './variants.ts';

/** Files that tests want to be there. */
const FILES: Record<string, string> = { 'smb2.zero-data-ioctl': 'zero.dat' };

/** By the name that the test of access-based enumeration looks for; of the same folder. */
const HIDING_SHARE = 'hideunread';
const SECOND_USER = 'bob';
const SECOND_PASSWORD = 'battery staple';
/** What the servers keep for themselves at the root of a volume. */
const OWN_FILES = '.holdfast';

/** The servers of a variant, with the share that one test after another has for itself. */
export class UnderTest {
  readonly #variant: Variant;
  readonly #serving: Serving;
  readonly #balancer: Balancer | undefined;

  private constructor(variant: Variant, serving: Serving, balancer: Balancer | undefined) {
    this.#variant = variant;
    this.#serving = serving;
    this.#balancer = balancer;
  }

  static async start(variant: Variant): Promise<UnderTest> {
    const flags = [
      ...['--min-dialect', '2.0.2', '--signing', 'Desired', '--anonymous-ipc'],
      ...['--user', `${SECOND_USER}:${SECOND_PASSWORD}`],
      ...['--share', 'share', '--share', HIDING_SHARE, '--access-based-enumeration', HIDING_SHARE],
      ...variant.serveFlags,
    ];
    const serving = await Serving.start({ servers: variant.servers, flags });
    const balancer = variant.servers > 1 ? await Balancer.to(serving.addresses) : undefined;
    return new UnderTest(variant, serving, balancer);
  }

  /** Runs one test on a share that has no more than it wants to be there. */
  async run(test: string): Promise<Result> {
    this.#emptyShare();
    const file = FILES[test];
    if (file !== undefined) writeFileSync(join(this.#serving.directory, file), Buffer.alloc(16_384, 'x'));
    this.#balancer?.restart();
    const { host, port } = parseAddress(this.#balancer?.address ?? this.#serving.addresses[0] ?? '');
    return runTest(test, {
      ...{ host, port, share: 'share', user: USER, password: PASSWORD },
      extra: [
        `--option=torture:user2name=${SECOND_USER}`,
        `--option=torture:user2password=${SECOND_PASSWORD}`,
        ...this.#variant.tortureFlags,
      ],
    });
  }

  async stop(): Promise<void> {
    await this.#balancer?.close();
    await this.#serving.stop();
  }

  #emptyShare(): void {
    for (const name of readdirSync(this.#serving.directory)) {
      if (name.startsWith(OWN_FILES)) continue;
      // A server may still be carrying out what a client asked for that is gone.
      rmSync(join(this.#serving.directory, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
  }
}
