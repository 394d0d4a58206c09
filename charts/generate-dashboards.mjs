// Makes the Grafana dashboards of the chart (charts/holdfast/dashboards/) from the short description below. `--check` changes nothing
// and fails when one of them is out of date.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), 'holdfast/dashboards');
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is Grafana's way to write a variable
const SOURCE = { type: 'prometheus', uid: '${datasource}' };
const WIDTH = 24;
const STAT = { w: 4, h: 4 };
const GRAPH = { w: 12, h: 8 };

/** What the pods of the chosen clusters say: the labels come from the chart's PodMonitor. */
const of = (metric, more = '') =>
  `${metric}{namespace=~"$namespace",holdfast_dev_cluster=~"$cluster"${more === '' ? '' : `,${more}`}}`;
const rate = (metric, more) => `rate(${of(metric, more)}[$__rate_interval])`;
const grown = (metric, more) => `increase(${of(metric, more)}[5m])`;
const quantile = (q, metric, by = '') =>
  `histogram_quantile(${q}, sum by (le${by && `, ${by}`}) (${rate(`${metric}_bucket`)}))`;

const row = (title) => ({ type: 'row', title });
/** A number. @param thresholds [[value from which, colour], ...] */
const stat = (title, description, expr, options = {}) => ({
  type: 'stat',
  title,
  description,
  targets: [[expr, '']],
  ...options,
});
/** Lines over time. @param targets [[query, legend], ...] */
const graph = (title, description, unit, ...targets) => ({ type: 'timeseries', title, description, unit, targets });

const BAD = [
  [null, 'green'],
  [1, 'red'],
];
const GOOD_IS_ONE = [
  [null, 'red'],
  [1, 'green'],
];
const FILLING = [
  [null, 'green'],
  [0.7, 'orange'],
  [0.8, 'red'],
];

const dashboards = [
  {
    file: 'overview.json',
    uid: 'holdfast-overview',
    title: 'Holdfast / Clusters',
    panels: [
      row('Now'),
      stat(
        'Clusters',
        'FileServerClusters that the operator looks after.',
        'max(holdfast_operator_clusters{state="all"})',
      ),
      stat(
        'Degraded',
        'Clusters whose condition Degraded is True; kubectl get fsc -A -o wide says why.',
        'max(holdfast_operator_clusters{state="degraded"})',
        { thresholds: BAD },
      ),
      stat(
        'File servers that may serve',
        'Servers whose last renewal is still good.',
        `sum(${of('holdfast_fileserver_may_serve')})`,
      ),
      stat('Sessions', 'Users that are logged on, once a session.', `sum(${of('holdfast_fileserver_sessions')})`),
      stat('Open handles', 'Opens whose client is connected.', `sum(${of('holdfast_opens', 'state="active"')})`),
      stat(
        'Handles waiting',
        'Opens that wait for their client, at the server that had them or in the custody of another.',
        `sum(${of('holdfast_opens', 'state="disconnected"')}) + sum(${of('holdfast_orphaned_opens')})`,
      ),
      row('What is going on'),
      graph('Requests', 'Requests of clients.', 'reqps', [
        `sum by (namespace, holdfast_dev_cluster) (${rate('holdfast_fileserver_requests_total')})`,
        '{{namespace}}/{{holdfast_dev_cluster}}',
      ]),
      graph(
        'Bytes',
        'What clients sent and got.',
        'Bps',
        [`sum(${rate('holdfast_fileserver_received_bytes_total')})`, 'from clients'],
        [`sum(${rate('holdfast_fileserver_sent_bytes_total')})`, 'to clients'],
      ),
      graph(
        'Latency, 99 of 100 requests',
        'From arrival to answer; CHANGE_NOTIFY and LOCK may wait as long as they like.',
        's',
        [
          `histogram_quantile(0.99, sum by (le, namespace, holdfast_dev_cluster) (${rate('holdfast_fileserver_request_duration_seconds_bucket', 'command!~"CHANGE_NOTIFY|LOCK"')}))`,
          '{{namespace}}/{{holdfast_dev_cluster}}',
        ],
      ),
      graph('Handles by server', 'Opens in memory of each file server.', 'none', [
        `sum by (pod) (${of('holdfast_fileserver_opens')})`,
        '{{pod}}',
      ]),
      graph(
        'Fencings',
        'Servers that were fenced, and servers that stopped themselves because they could not renew.',
        'none',
        [`sum by (reason) (${grown('holdfast_fencings_total')})`, 'fenced: {{reason}}'],
        [`sum(${grown('holdfast_fileserver_self_fencings_total')})`, 'stopped themselves'],
      ),
      graph('Fullest limit', 'Of each file server, the limit that it is nearest to (docs/limits.md).', 'percentunit', [
        `max by (pod) (${of('holdfast_fileserver_in_use')} / ${of('holdfast_fileserver_limit')})`,
        '{{pod}}',
      ]),
      row('Operator'),
      stat('Leads', '1: one operator acts.', 'sum(holdfast_operator_leading)', { thresholds: GOOD_IS_ONE }),
      graph('Reconciliations', 'By controller and result.', 'ops', [
        'sum by (controller, result) (rate(holdfast_operator_reconciles_total[$__rate_interval]))',
        '{{controller}} {{result}}',
      ]),
      graph(
        'Requests to the API server',
        'Of the operator, by verb; with nothing to do it is less than one a second.',
        'reqps',
        ['sum by (verb) (rate(holdfast_operator_api_requests_total[$__rate_interval]))', '{{verb}}'],
      ),
      graph(
        'Queues, and how long a look takes',
        'Objects that wait to be looked at; the time that 95 of 100 looks take at most.',
        'none',
        ['sum by (controller) (holdfast_operator_queue_depth)', '{{controller}} waiting'],
        [
          'histogram_quantile(0.95, sum by (le, controller) (rate(holdfast_operator_reconcile_duration_seconds_bucket[$__rate_interval])))',
          '{{controller}} s',
        ],
      ),
    ],
  },
  {
    file: 'handles.json',
    uid: 'holdfast-handles',
    title: 'Holdfast / Handles and migrations',
    panels: [
      row('Handles'),
      stat('Connected', 'Opens whose client is connected.', `sum(${of('holdfast_opens', 'state="active"')})`),
      stat(
        'Disconnected',
        'Opens that wait for their client at the server that has them.',
        `sum(${of('holdfast_opens', 'state="disconnected"')})`,
      ),
      stat(
        'In custody',
        'Opens of servers that are gone; their clients get them back from any server.',
        `sum(${of('holdfast_orphaned_opens')})`,
      ),
      stat('Byte-range locks', 'Held through opens.', `sum(${of('holdfast_byte_range_locks')})`),
      stat('Leases', 'Leases that are held, one for each client and file.', `sum(${of('holdfast_leases')})`),
      stat('Oplocks', 'Opens that hold an oplock.', `sum(${of('holdfast_oplocks')})`),
      graph(
        'Handles by state',
        'Opens by whether their client is connected.',
        'none',
        [`sum by (state) (${of('holdfast_opens')})`, '{{state}}'],
        [`sum(${of('holdfast_orphaned_opens')})`, 'in custody'],
      ),
      graph('Leases by what they grant', 'R read, H handle, W write caching.', 'none', [
        `sum by (state) (${of('holdfast_leases')})`,
        '{{state}}',
      ]),
      graph('Breaks', 'Leases and oplocks that had to be given up, at this server or at another.', 'ops', [
        `sum by (to) (${rate('holdfast_breaks_total')})`,
        'to {{to}}',
      ]),
      graph(
        'Reclaims',
        'Opens that clients asked back after a move, a fencing or a lost connection, by result.',
        'none',
        [`sum by (result) (${grown('holdfast_reclaims_total')})`, '{{result}}'],
      ),
      graph('Handles that were lost', 'Opens whose client did not come back in time.', 'none', [
        `sum(${grown('holdfast_opens_expired_total')})`,
        'expired',
      ]),
      graph(
        'Fencings',
        'By reason: a process or all containers of a pod ended, a server fell silent, or a fencing was brought to its end.',
        'none',
        [`sum by (reason) (${grown('holdfast_fencings_total')})`, '{{reason}}'],
      ),
      row('Migrations'),
      stat(
        'Running',
        'Migrations that have not ended.',
        'max by () (sum by (pod, instance) (holdfast_operator_migrations_unfinished))',
      ),
      stat(
        'Oldest',
        'Age of the oldest migration that has not ended.',
        'max(holdfast_operator_migration_oldest_seconds)',
        { unit: 's' },
      ),
      graph('Migrations', 'That ended, by reason and result.', 'none', [
        'sum by (reason, result) (increase(holdfast_operator_migrations_total[5m]))',
        '{{reason}} {{result}}',
      ]),
      graph(
        'Handles of migrations',
        'By what became of them: moved to another server, released for their clients to reclaim, or expired.',
        'none',
        ['sum by (outcome) (increase(holdfast_operator_migration_handles_total[5m]))', '{{outcome}}'],
      ),
      graph('Duration of migrations', '95 of 100 took at most so long, by reason.', 's', [
        'histogram_quantile(0.95, sum by (le, reason) (rate(holdfast_operator_migration_duration_seconds_bucket[15m])))',
        '{{reason}}',
      ]),
      graph(
        'Pause of one session in a handoff',
        'From quiescing a session to its release: what its client waits, beside the time to connect.',
        's',
        [`histogram_quantile(0.99, sum by (le) (rate(${of('holdfast_handoff_session_seconds_bucket')}[15m])))`, '99 %'],
        [
          `histogram_quantile(0.5, sum by (le) (rate(${of('holdfast_handoff_session_seconds_bucket')}[15m])))`,
          'median',
        ],
      ),
      graph('Steps of handoffs', 'Prepare, quiesce, transfer, release, by result.', 'none', [
        `sum by (step, result) (${grown('holdfast_handoff_steps_total')})`,
        '{{step}} {{result}}',
      ]),
      graph('Opens in handoffs', 'Moved, released or expired, as the sidecars count them.', 'none', [
        `sum by (result) (${grown('holdfast_handoff_opens_total')})`,
        '{{result}}',
      ]),
    ],
  },
  {
    file: 'smb.json',
    uid: 'holdfast-smb',
    title: 'Holdfast / SMB traffic',
    panels: [
      row('Clients'),
      stat('Connections', 'TCP connections of clients.', `sum(${of('holdfast_fileserver_connections')})`),
      stat('Sessions', 'Users that are logged on, once a session.', `sum(${of('holdfast_fileserver_sessions')})`),
      stat(
        'Encrypted',
        'Sessions that have to encrypt.',
        `sum(${of('holdfast_fileserver_protected_sessions', 'encryption!="none"')}) or vector(0)`,
      ),
      stat(
        'Unsigned',
        'Sessions whose requests need not be signed.',
        `sum(${of('holdfast_fileserver_protected_sessions', 'signing="none"')}) or vector(0)`,
      ),
      stat('Refused logons', 'In the last five minutes.', `sum(${grown('holdfast_fileserver_logon_failures_total')})`),
      stat(
        'Fullest limit',
        'How full the fullest limit of any server is (docs/limits.md).',
        `max(${of('holdfast_fileserver_in_use')} / ${of('holdfast_fileserver_limit')})`,
        { unit: 'percentunit', thresholds: FILLING },
      ),
      graph(
        'Connections and sessions by server',
        'How clients are spread.',
        'none',
        [`sum by (pod) (${of('holdfast_fileserver_connections')})`, '{{pod}} connections'],
        [`sum by (pod) (${of('holdfast_fileserver_sessions')})`, '{{pod}} sessions'],
      ),
      graph('Sessions by protection', 'Dialect, signing algorithm and cipher that is demanded.', 'none', [
        `sum by (dialect, signing, encryption) (${of('holdfast_fileserver_protected_sessions')})`,
        '{{dialect}} {{signing}} {{encryption}}',
      ]),
      row('Requests'),
      graph('Requests by command', 'Answered requests.', 'reqps', [
        `sum by (command) (${rate('holdfast_fileserver_requests_total')})`,
        '{{command}}',
      ]),
      graph('Requests by how they came', 'Encrypted, signed in the clear, or plain (before logon).', 'reqps', [
        `sum by (protection) (${rate('holdfast_fileserver_protected_requests_total')})`,
        '{{protection}}',
      ]),
      graph('Latency by command, 99 of 100', 'From arrival to answer.', 's', [
        quantile(0.99, 'holdfast_fileserver_request_duration_seconds', 'command'),
        '{{command}}',
      ]),
      graph('Latency by command, median', 'From arrival to answer.', 's', [
        quantile(0.5, 'holdfast_fileserver_request_duration_seconds', 'command'),
        '{{command}}',
      ]),
      graph(
        'Errors by status',
        'Answers that are neither a success nor part of everyday work (end of a listing, name not found, more to come).',
        'reqps',
        [
          `sum by (status) (${rate('holdfast_fileserver_requests_total', 'status!~"STATUS_SUCCESS|STATUS_PENDING|STATUS_MORE_PROCESSING_REQUIRED|STATUS_NO_MORE_FILES|STATUS_OBJECT_NAME_NOT_FOUND|STATUS_END_OF_FILE|STATUS_BUFFER_OVERFLOW|STATUS_NOTIFY_CLEANUP|STATUS_NOTIFY_ENUM_DIR"')})`,
          '{{status}}',
        ],
      ),
      graph(
        'Bytes',
        'What clients sent and got.',
        'Bps',
        [`sum by (pod) (${rate('holdfast_fileserver_received_bytes_total')})`, '{{pod}} from clients'],
        [`sum by (pod) (${rate('holdfast_fileserver_sent_bytes_total')})`, '{{pod}} to clients'],
      ),
      row('Servers'),
      graph('Limits', 'How much of each limit is in use, at the server where it is most.', 'percentunit', [
        `max by (resource) (${of('holdfast_fileserver_in_use')} / ${of('holdfast_fileserver_limit')})`,
        '{{resource}}',
      ]),
      graph('Bytes in flight', 'Of requests and replies in memory.', 'bytes', [
        `sum by (pod) (${of('holdfast_fileserver_in_flight_bytes')})`,
        '{{pod}}',
      ]),
      graph('Requests that wait', 'For a lock, a break or a change.', 'none', [
        `sum by (pod) (${of('holdfast_fileserver_waiting_requests')})`,
        '{{pod}}',
      ]),
      graph(
        'Opens without a decision',
        'Files that are opened again as they were just closed: opens that are kept for that, and how many a second it served.',
        'none',
        [`sum(${of('holdfast_fileserver_kept_opens')})`, 'kept'],
        [`sum(${rate('holdfast_fileserver_reused_opens_total')})`, 'used again, each second'],
      ),
      graph(
        'Event loop delay',
        'The 99th percentile since the last scrape. A server that is held up for longer than its lease stops itself.',
        's',
        [`max by (pod) (${of('holdfast_fileserver_event_loop_delay_seconds')})`, '{{pod}}'],
      ),
      graph('May serve', '1 while the last renewal is good; a server that may not serve answers nobody.', 'none', [
        `min by (pod) (${of('holdfast_fileserver_may_serve')})`,
        '{{pod}}',
      ]),
    ],
  },
  {
    file: 'store.json',
    uid: 'holdfast-store',
    title: 'Holdfast / State store',
    panels: [
      row('Store'),
      stat('Reachable', '1: every sidecar has its renewals answered.', `min(${of('holdfast_store_reachable')})`, {
        thresholds: GOOD_IS_ONE,
      }),
      stat(
        'Full',
        '1: the store is out of memory, nothing new is opened or locked.',
        `max(${of('holdfast_store_full')})`,
        { thresholds: BAD },
      ),
      stat(
        'Refused',
        '1: a sidecar refuses to use the store; the label says why.',
        `max(${of('holdfast_store_refused')}) or vector(0)`,
        { thresholds: BAD },
      ),
      stat(
        'Put back',
        'Times in the last hour that state was put back, because another Redis process answered.',
        `sum(increase(${of('holdfast_store_reconciliations_total')}[1h]))`,
      ),
      stat(
        'Losses',
        'Times in the last hour that the store was found to have lost what was written.',
        `sum(increase(${of('holdfast_store_losses_total')}[1h]))`,
        { thresholds: BAD },
      ),
      stat('Sessions stored', 'Sessions in the table.', `sum(${of('holdfast_sessions_stored')})`),
      graph('Reachable by sidecar', '1 while its renewals are answered.', 'none', [
        `min by (pod) (${of('holdfast_store_reachable')})`,
        '{{pod}}',
      ]),
      graph('Reconnects', 'Connections to the store that were made anew.', 'none', [
        `sum by (pod) (${grown('holdfast_store_reconnects_total')})`,
        '{{pod}}',
      ]),
      row('What it is asked'),
      graph('Scripts', 'Calls of each script.', 'ops', [
        `sum by (script) (${rate('holdfast_store_script_seconds_count')})`,
        '{{script}}',
      ]),
      graph(
        'Latency of scripts, 99 of 100',
        'From sending a script to its answer; with durability Always that includes the write to disk.',
        's',
        [quantile(0.99, 'holdfast_store_script_seconds', 'script'), '{{script}}'],
      ),
      graph('Latency of scripts, median', 'From sending a script to its answer.', 's', [
        quantile(0.5, 'holdfast_store_script_seconds', 'script'),
        '{{script}}',
      ]),
      graph(
        'Renewals',
        'By result. Late and failed ones bring servers nearer to the deadline at which they stop themselves.',
        'ops',
        [`sum by (result) (${rate('holdfast_renewals_total')})`, '{{result}}'],
      ),
      graph('Decisions', 'What file servers asked their sidecars.', 'ops', [
        `sum by (request) (${rate('holdfast_sidecar_decisions_total')})`,
        '{{request}}',
      ]),
      graph('Decisions by outcome', 'What they were told.', 'ops', [
        `sum by (outcome) (${rate('holdfast_sidecar_decisions_total')})`,
        '{{outcome}}',
      ]),
      graph(
        'Without the store',
        'While it is away: leases that the promises of all peers have extended, or not, and promises that were asked for.',
        'none',
        [`sum by (result) (${grown('holdfast_lease_extensions_total')})`, 'leases: {{result}}'],
        [`sum by (result) (${grown('holdfast_promises_total')})`, 'promises: {{result}}'],
      ),
      graph(
        'State put back, and losses',
        'After another Redis process answered; after the store had gone back in time.',
        'none',
        [`sum(${grown('holdfast_store_reconciliations_total')})`, 'put back'],
        [`sum(${grown('holdfast_store_losses_total')})`, 'lost'],
      ),
    ],
  },
];

const variable = (name, label, metric, filter = '') => ({
  name,
  label,
  type: 'query',
  datasource: SOURCE,
  definition: `label_values(${metric}${filter}, ${name === 'cluster' ? 'holdfast_dev_cluster' : name})`,
  query: {
    query: `label_values(${metric}${filter}, ${name === 'cluster' ? 'holdfast_dev_cluster' : name})`,
    refId: `${name}s`,
  },
  refresh: 2,
  includeAll: true,
  allValue: '.*',
  multi: true,
  current: { selected: true, text: ['All'], value: ['$__all'] },
  hide: 0,
  sort: 1,
});

/** Panels side by side where there is room, rows on lines of their own. */
function layOut(panels) {
  let x = 0;
  let y = 0;
  let height = 0;
  return panels.map((panel, index) => {
    const isRow = panel.type === 'row';
    const { w, h } = isRow ? { w: WIDTH, h: 1 } : panel.type === 'stat' ? STAT : GRAPH;
    if (x + w > WIDTH || isRow || h !== height) {
      y += height;
      x = 0;
      height = 0;
    }
    const gridPos = { x, y, w, h };
    x += w;
    height = h;
    const { title, description, targets } = panel;
    if (isRow) return { id: index + 1, type: 'row', title, collapsed: false, gridPos, panels: [] };
    const steps = (panel.thresholds ?? [[null, 'green']]).map(([value, color]) => ({ value, color }));
    return {
      id: index + 1,
      type: panel.type,
      title,
      description,
      datasource: SOURCE,
      gridPos,
      fieldConfig: {
        defaults: {
          unit: panel.unit ?? 'none',
          min: 0,
          thresholds: { mode: 'absolute', steps },
          color: { mode: panel.type === 'stat' ? 'thresholds' : 'palette-classic' },
        },
        overrides: [],
      },
      options:
        panel.type === 'stat'
          ? { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'value', graphMode: 'area' }
          : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
      targets: targets.map(([expr, legendFormat], target) => ({
        refId: String.fromCharCode(65 + target),
        datasource: SOURCE,
        expr,
        legendFormat,
      })),
    };
  });
}

function dashboard({ uid, title, panels }) {
  return {
    uid,
    title,
    tags: ['holdfast'],
    timezone: 'browser',
    schemaVersion: 39,
    version: 2,
    editable: true,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', hide: 0 },
        variable('namespace', 'Namespace', 'holdfast_fileserver_may_serve'),
        variable('cluster', 'Cluster', 'holdfast_fileserver_may_serve', '{namespace=~"$namespace"}'),
      ],
    },
    annotations: { list: [] },
    links: [
      {
        type: 'dashboards',
        tags: ['holdfast'],
        title: 'Holdfast',
        asDropdown: false,
        includeVars: true,
        keepTime: true,
      },
    ],
    panels: layOut(panels),
  };
}

mkdirSync(FOLDER, { recursive: true });
for (const description of dashboards) {
  const path = join(FOLDER, description.file);
  const text = `${JSON.stringify(dashboard(description), undefined, 1)}\n`;
  let before = '';
  try {
    before = readFileSync(path, 'utf8');
  } catch {
    // not there yet
  }
  if (before === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`${path} does not follow from charts/generate-dashboards.mjs: run "make generate"`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, text);
    console.log(`wrote ${path}`);
  }
}
