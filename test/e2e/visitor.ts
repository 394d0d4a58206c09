import type { TestNamespace } from './namespace.ts';

/** So long a connection may take to come about; where a network throws packets away nothing ever comes back. */
const CONNECTED_WITHIN_MS = 2000;

/** A pod that has nothing to do with a cluster, and tries what it can connect to. */
export class Visitor {
  readonly #namespace: TestNamespace;
  readonly #name: string;

  private constructor(namespace: TestNamespace, name: string) {
    this.#namespace = namespace;
    this.#name = name;
  }

  /** @param image that has Node, and is on every node */
  static async come(
    namespace: TestNamespace,
    name: string,
    image: string,
    labels: Record<string, string>,
  ): Promise<Visitor> {
    const { kubernetes } = namespace;
    await kubernetes.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: namespace.name, labels },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 0,
          securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            {
              name: 'visitor',
              image,
              command: ['node', '-e', 'setInterval(() => {}, 1 << 30)'],
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            },
          ],
        },
      }),
    );
    await kubernetes.kubectl(['wait', 'pod', name, '-n', namespace.name, '--for=condition=Ready', '--timeout=120s']);
    return new Visitor(namespace, name);
  }

  /** Which of these addresses (host:port) it gets a connection to. */
  async reaches(addresses: readonly string[]): Promise<string[]> {
    const script = `
const { connect } = require('node:net');
const tried = ${JSON.stringify(addresses)}.map((address) => new Promise((resolve) => {
  const [host, port] = address.split(':');
  const socket = connect({ host, port: Number(port), timeout: ${CONNECTED_WITHIN_MS} });
  const is = (outcome) => { socket.destroy(); resolve(outcome ? [address] : []); };
  socket.on('connect', () => is(true)).on('error', () => is(false)).on('timeout', () => is(false));
}));
Promise.all(tried).then((found) => console.log(JSON.stringify(found.flat())));`;
    const { kubernetes, name } = this.#namespace;
    return JSON.parse(
      await kubernetes.kubectl(['exec', '-n', name, this.#name, '--', 'node', '-e', script]),
    ) as string[];
  }

  async leave(): Promise<void> {
    const { kubernetes, name } = this.#namespace;
    await kubernetes.kubectl(['delete', 'pod', this.#name, '-n', name, '--ignore-not-found', '--wait=false']);
  }
}
