import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ended, eventually } from '../cluster/shell.ts';

/** What is scraped, and the labels that a PodMonitor would give it. */
export interface Target {
  address: string;
  labels: Record<string, string>;
}

export interface Instant {
  metric: Record<string, string>;
  value: [number, string];
}

export interface Range {
  metric: Record<string, string>;
  /** Seconds since 1970, and the value as text. */
  values: [number, string][];
}

/** A real Prometheus on a free loopback port, that keeps what it scrapes in a folder of its own. */
export class Prometheus {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #port: number;

  private constructor(child: ChildProcess, folder: string, port: number) {
    this.#child = child;
    this.#folder = folder;
    this.#port = port;
  }

  static async start(targets: readonly Target[], scrapeMs: number): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-prometheus-'));
    const jobs = targets.map(({ address, labels }, i) => ({
      job_name: `job-${i}`,
      static_configs: [{ targets: [address], labels }],
    }));
    const configuration = { global: { scrape_interval: `${scrapeMs}ms` }, scrape_configs: jobs };
    writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(configuration)); // JSON is YAML
    const flags = [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
    ];
    const child = spawn('prometheus', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const port = await eventually('Prometheus listens', 20_000, () => {
      const address = /Listening on"? .*?address=\S*?:(\d+)/.exec(said);
      return address ? Number(address[1]) : undefined;
    });
    return new Prometheus(child, folder, port);
  }

  /** The result of an instant query. @throws Error with Prometheus' message when it does not understand the expression */
  async query(expr: string): Promise<Instant[]> {
    const data = (await this.#ask('query', { query: expr })) as { result: Instant[] };
    return data.result;
  }

  /** A query over time. @param fromS, toS seconds since 1970 */
  async range(expr: string, fromS: number, toS: number, steps = 120): Promise<Range[]> {
    const step = Math.max(0.25, (toS - fromS) / steps);
    const parameters = { query: expr, start: String(fromS), end: String(toS), step: step.toFixed(3) };
    const data = (await this.#ask('query_range', parameters)) as { result: Range[] };
    return data.result;
  }

  /** Whether some process says that it has such a metric, with values or without. */
  async knows(metric: string): Promise<boolean> {
    const base = metric.replace(/_(bucket|sum|count)$/, '');
    const found = (await this.#ask('metadata', {})) as Record<string, unknown>;
    return metric in found || base in found;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await ended(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #ask(what: string, parameters: Record<string, string>): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const answer = (await response.json()) as { status: string; error?: string; data: unknown };
    if (answer.status !== 'success')
      throw new Error(`Prometheus refuses ${JSON.stringify(parameters)}: ${answer.error}`);
    return answer.data;
  }
}
