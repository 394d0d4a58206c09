import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { serveMetrics } from '../../common/metrics.ts';
import { OperatorMetrics } from '../../operator/metrics.ts';
import { ended, eventually } from '../cluster/shell.ts';
import { Stage } from '../faults/stage.ts';

const CHART = join(import.meta.dirname, '../../charts/holdfast');
const SCRAPE_MS = 250;

interface Panel {
  title: string;
  targets?: { expr: string }[];
  panels?: Panel[];
}

const queries = readdirSync(join(CHART, 'dashboards')).flatMap((file) => {
  const dashboard = JSON.parse(readFileSync(join(CHART, 'dashboards', file), 'utf8')) as { panels: Panel[] };
  return panelQueries(dashboard.panels).map(([panel, expr]) => [`${file}: ${panel}`, expr] as const);
});
const alerts = (
  parse(readFileSync(join(CHART, 'files/alerts.yaml'), 'utf8')) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  }
).groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const));

/** Things that have not happened here have no series of their own; what they are counted in must exist all the same. */
const MAY_BE_EMPTY = /fencings_total|opens_expired_total/;

let stage: Stage;
let prometheus: ChildProcess;
let operator: Awaited<ReturnType<typeof serveMetrics>>;
let folder: string;
let port: number;

/** Real file servers and sidecars that real clients use, the operator's metrics, and a real Prometheus that scrapes all. */
beforeAll(async () => {
  stage = await Stage.start(2);
  const client = await stage.client(0);
  const file = await client.open('watched', { access: 'readwrite', disposition: 'openIf' });
  await file.write(0, Buffer.from('a'));
  const metrics = new OperatorMetrics();
  metrics.observe({ fileserverclusters: () => 0 }, () => ({ available: 1, degraded: 0, all: 1 }));
  const health = { live: () => true as const, ready: () => true as const };
  operator = await serveMetrics('127.0.0.1:0', metrics.registry, health);

  const parts = [0, 1].flatMap((i) => [`fileserver-${i}`, `sidecar-${i}`]);
  const targets = [...parts.map((part) => stage.serving.detail(part, 'metrics')), `127.0.0.1:${operator.port}`];
  folder = mkdtempSync(join(tmpdir(), 'holdfast-prometheus-'));
  const jobs = targets.map((target, i) => ({
    job_name: `job-${i}`,
    static_configs: [{ targets: [target], labels: { pod: `pod-${i}` } }],
  }));
  const configuration = { global: { scrape_interval: `${SCRAPE_MS}ms` }, scrape_configs: jobs };
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(configuration)); // JSON is YAML
  port = await startPrometheus();

  await eventually('everything is scraped', 20_000, async () => {
    const up = await query('sum(up)');
    return Number(up[0]?.value[1]) === targets.length || undefined;
  });
  // What is counted has to begin before it grows, or nothing has increased.
  await eventually('requests were scraped twice', 20_000, async () => {
    await file.write(0, Buffer.from('b'));
    return (await query('sum(rate(holdfast_fileserver_requests_total[5s])) > 0')).length > 0 || undefined;
  });
  const control = await stage.control(0);
  await control.migrate({ migrationId: 'watched', targetPods: ['local-1'] });
  await file.write(0, Buffer.from('c'));
  metrics.reconciles.labels('fileserverclusters', 'ok').inc();
  metrics.migrations.labels('Cordon', 'Succeeded').inc();
  metrics.migrationSeconds.labels('Cordon').observe(1);
  metrics.handles.labels('moved').inc();
  metrics.leading.set(1);
  await eventually('the migration is scraped', 20_000, async () => {
    const seen = await query(
      'holdfast_operator_migrations_total and on() sum(holdfast_handoff_session_seconds_count) > 0',
    );
    return seen.length > 0 || undefined;
  });
}, 90_000);

afterAll(async () => {
  prometheus?.kill('SIGTERM');
  if (prometheus) await ended(prometheus);
  await operator?.close();
  await stage?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
}, 60_000);

describe('every query of the dashboards', () => {
  test.each(queries)('%s', async (_, expr) => {
    const series = await eventually(expr, 10_000, async () => {
      const found = await query(expr);
      return found.length > 0 || MAY_BE_EMPTY.test(expr) ? found : undefined;
    });
    if (!MAY_BE_EMPTY.test(expr)) expect(series.length).toBeGreaterThan(0);
    for (const metric of expr.match(/holdfast_\w+/g) ?? [])
      expect([metric, await isKnown(metric)]).toEqual([metric, true]);
  });
});

describe('every alert', () => {
  test.each(alerts)('%s is evaluated, on metrics that exist', async (_, expr) => {
    await query(expr);
    for (const metric of expr.match(/holdfast_\w+/g) ?? [])
      expect([metric, await isKnown(metric)]).toEqual([metric, true]);
  });
});

/** Whether some process says that it has such a metric, with values or without. */
async function isKnown(metric: string): Promise<boolean> {
  const base = metric.replace(/_(bucket|sum|count)$/, '');
  const found = (await ask('metadata', {})) as Record<string, unknown>;
  return metric in found || base in found;
}

async function startPrometheus(): Promise<number> {
  const flags = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    '--web.listen-address=127.0.0.1:0',
  ];
  prometheus = spawn('prometheus', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  prometheus.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return eventually('Prometheus listens', 20_000, () => {
    const address = /Listening on"? .*?address=\S*?:(\d+)/.exec(said);
    return address ? Number(address[1]) : undefined;
  });
}

/** The result of an instant query. @throws Error with Prometheus' message when it does not understand the expression */
async function query(expr: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
  const data = (await ask('query', { query: expr })) as { result: never[] };
  return data.result;
}

async function ask(what: string, parameters: Record<string, string>): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/${what}?${new URLSearchParams(parameters)}`);
  const answer = (await response.json()) as { status: string; error?: string; data: unknown };
  if (answer.status !== 'success') throw new Error(`Prometheus refuses ${JSON.stringify(parameters)}: ${answer.error}`);
  return answer.data;
}

function panelQueries(panels: Panel[]): [string, string][] {
  return panels.flatMap((panel) => [
    ...(panel.targets ?? []).map(({ expr }): [string, string] => [panel.title, expr]),
    ...panelQueries(panel.panels ?? []),
  ]);
}
