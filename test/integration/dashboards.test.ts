import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { Client } from '../../client/index.ts';
import { serveMetrics } from '../../common/metrics.ts';
import { OperatorMetrics, type UnfinishedMigration } from '../../operator/metrics.ts';
import { eventually } from '../cluster/shell.ts';
import { dashboards, filledIn, problemsOf } from '../dashboards/dashboard.ts';
import { Prometheus } from '../dashboards/prometheus.ts';
import { renderDashboards } from '../dashboards/render.ts';
import { SHARE, Stage } from '../faults/stage.ts';
import { USER } from '../serving.ts';

const ROOT = join(import.meta.dirname, '../..');
const SCRAPE_MS = 250;
/** How long there is traffic before the picture is made: a moment, or as long as `make dashboards` says. */
const TRAFFIC_MS = Number(process.env.DASHBOARD_SECONDS ?? 0) * 1000;
const VARIABLES = { namespace: 'team-a', cluster: 'media', rateInterval: TRAFFIC_MS > 0 ? '5s' : '2s' };

const all = dashboards();
const queries = [...all].flatMap(([file, { panels }]) =>
  panels.flatMap(({ title, targets }) =>
    (targets ?? []).map(({ expr }) => [`${file}: ${title}`, filledIn(expr, VARIABLES)] as const),
  ),
);
const alerts = (
  parse(readFileSync(join(ROOT, 'charts/holdfast/files/alerts.yaml'), 'utf8')) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  }
).groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const));

let stage: Stage;
let prometheus: Prometheus;
let operator: Awaited<ReturnType<typeof serveMetrics>>;
let traffic: Traffic;
let beganS: number;

/** Somebody who writes, reads, asks for what is not there and logs on with a wrong password, until told to stop. */
class Traffic {
  #stopped = false;
  readonly #done: Promise<unknown>;

  constructor() {
    this.#done = Promise.all([this.#work(), this.#mistakes()]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #work(): Promise<void> {
    const client = await stage.client(0);
    const file = await client.open('watched', { access: 'readwrite', disposition: 'openIf' });
    for (let i = 0; !this.#stopped; i++) {
      await file.write((i % 64) * 4096, Buffer.alloc(4096, i));
      await file.read((i % 64) * 4096, 4096);
      const other = await client.open(`file-${i % 8}`, { access: 'readwrite', disposition: 'openIf' });
      await other.close();
      await client.list('').catch(() => undefined);
    }
  }

  /** What is answered with an error. */
  async #mistakes(): Promise<void> {
    const addresses = [stage.address(1)];
    await Client.connect({ addresses, user: USER, password: 'wrong', share: SHARE }).catch(() => undefined);
  }
}

beforeAll(async () => {
  stage = await Stage.start(2);
  const metrics = new OperatorMetrics();
  let unfinished: UnfinishedMigration[] = [];
  metrics.observe(
    { cluster: () => 0, migration: () => 0, ending: () => 0 },
    () => ({ available: 1, degraded: 0, all: 1 }),
    () => unfinished,
  );
  const health = { live: () => true as const, ready: () => true as const };
  operator = await serveMetrics('127.0.0.1:0', metrics.registry, health);
  metrics.leading.set(1);
  metrics.reconciles.labels('cluster', 'ok').inc();
  metrics.apiRequests.inc({ verb: 'GET' });

  const parts = [0, 1].flatMap((i) =>
    ['fileserver', 'sidecar'].map((part) => ({
      address: stage.serving.detail(`${part}-${i}`, 'metrics'),
      labels: { namespace: VARIABLES.namespace, holdfast_dev_cluster: VARIABLES.cluster, pod: `media-${i}` },
    })),
  );
  const operators = { address: `127.0.0.1:${operator.port}`, labels: { namespace: 'holdfast', pod: 'operator-0' } };
  beganS = Date.now() / 1000;
  prometheus = await Prometheus.start([...parts, operators], SCRAPE_MS);
  await eventually('everything is scraped', 20_000, async () => {
    const up = await prometheus.query('sum(up)');
    return Number(up[0]?.value[1]) === parts.length + 1 || undefined;
  });
  traffic = new Traffic();
  // What is counted has to begin before it grows, or nothing has increased.
  await eventually('requests were scraped twice', 20_000, async () => {
    const seen = await prometheus.query('sum(rate(holdfast_fileserver_requests_total{command="WRITE"}[5s])) > 0');
    return seen.length > 0 || undefined;
  });
  const control = await stage.control(0);
  const untilMs = Date.now() + TRAFFIC_MS;
  for (let round = 0; round === 0 || Date.now() < untilMs - 5000; round++) {
    const from = round % 2;
    const source = from === 0 ? control : await stage.control(from);
    unfinished = [{ phase: 'Transferring', ageSeconds: 1 }];
    const moved = await source.migrate({ migrationId: `watched-${round}`, targetPods: [`local-${1 - from}`] });
    unfinished = [];
    metrics.reconciles.labels('cluster', 'ok').inc();
    metrics.apiRequests.inc({ verb: 'GET' });
    metrics.reconcileSeconds.labels('cluster').observe(0.03);
    metrics.migrations.labels('Cordon', 'Succeeded').inc();
    metrics.migrationSeconds.labels('Cordon').observe(moved.durationMs / 1000);
    metrics.handles.labels('moved').inc(Number(moved.moved));
    await eventually('the migration is scraped', 20_000, async () => {
      const seen = await prometheus.query(`sum(holdfast_operator_migrations_total{result="Succeeded"}) > ${round}`);
      return seen.length > 0 || undefined;
    });
    if (TRAFFIC_MS > 0) {
      const nextMs = Date.now() + 5000;
      await eventually('it is time for the next', 20_000, () => Date.now() > nextMs || undefined);
      if (round === 2) stage.kill('fileserver-0');
      if (round === 2) await stage.ready();
    }
  }
}, 90_000 + TRAFFIC_MS);

afterAll(async () => {
  await traffic?.stop().catch(() => undefined);
  await prometheus?.stop();
  await operator?.close();
  await stage?.stop();
}, 60_000);

describe.each([...all])('%s', (_, dashboard) => {
  test('is what Grafana takes', () => expect(problemsOf(dashboard)).toEqual([]));
});

test('there are four, with uids and titles of their own', () => {
  expect(all.size).toBe(4);
  expect(new Set([...all.values()].map(({ uid }) => uid)).size).toBe(4);
  expect(new Set([...all.values()].map(({ title }) => title)).size).toBe(4);
});

test('every metric that is described is on one of them', () => {
  const described = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8').matchAll(/^\| `(holdfast_\w+)`/gm);
  const names = [...described].map(([, name = '']) => name.replace(/_(bucket|sum|count)$/, ''));
  const shown = JSON.stringify([...all.values()]);
  expect(names.length).toBeGreaterThan(50);
  expect(names.filter((name) => !shown.includes(name))).toEqual([]);
});

describe('every query of the dashboards', () => {
  test.each(queries)('%s', async (_, expr) => {
    const series = await eventually(expr, 10_000, async () => {
      const found = await prometheus.query(expr);
      return found.length > 0 ? found : undefined;
    });
    expect(series.length).toBeGreaterThan(0);
    for (const metric of expr.match(/holdfast_(?!dev_)\w+/g) ?? [])
      expect([metric, await prometheus.knows(metric)]).toEqual([metric, true]);
  });
});

describe('every alert', () => {
  test.each(alerts)('%s is evaluated, on metrics that exist', async (_, expr) => {
    await prometheus.query(expr);
    for (const metric of expr.match(/holdfast_(?!dev_)\w+/g) ?? [])
      expect([metric, await prometheus.knows(metric)]).toEqual([metric, true]);
  });
});

test('the dashboards are drawn, with something in every panel: out/dashboards.html', async () => {
  const { page, empty } = await renderDashboards(all.values(), prometheus, {
    fromS: TRAFFIC_MS > 0 ? beganS : Date.now() / 1000 - 10,
    toS: Date.now() / 1000,
    variables: VARIABLES,
  });
  mkdirSync(join(ROOT, 'out'), { recursive: true });
  writeFileSync(join(ROOT, 'out/dashboards.html'), page);
  expect(empty).toEqual([]);
});
