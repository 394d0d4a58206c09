import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '../../charts/holdfast/dashboards');

/** What of a panel of Grafana matters here. */
export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  datasource?: { type: string; uid: string };
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig?: { defaults: { unit: string } };
  targets?: { refId: string; expr: string; legendFormat: string; datasource: { type: string; uid: string } }[];
  panels?: Panel[];
}

export interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  refresh: string;
  time: { from: string; to: string };
  templating: { list: { name: string; type: string; query: string | { query: string }; allValue?: string }[] };
  panels: Panel[];
}

/** The chart's dashboards by file name. */
export function dashboards(): Map<string, Dashboard> {
  return new Map(
    readdirSync(FOLDER).map((file) => [file, JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Dashboard]),
  );
}

/** Fills in the variables as Grafana does. @param rateInterval for $__rate_interval: four scrapes */
export function filledIn(
  expr: string,
  variables: { namespace: string; cluster: string; rateInterval: string },
): string {
  return expr
    .replaceAll('$namespace', variables.namespace)
    .replaceAll('$cluster', variables.cluster)
    .replaceAll('$__rate_interval', variables.rateInterval);
}

/** Data sources are chosen above the dashboard. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is Grafana's way to write a variable
const VARIABLE = '${datasource}';

/** Why Grafana would not show the dashboard as it is meant; nothing when it would. */
export function problemsOf(dashboard: Dashboard): string[] {
  const problems: string[] = [];
  const { uid, title, schemaVersion, panels, templating } = dashboard;
  if (!/^[-a-z0-9]{1,40}$/.test(uid)) problems.push(`uid "${uid}" is not one of at most 40 letters, digits and "-"`);
  if (!title.startsWith('Holdfast / ')) problems.push(`title "${title}" does not begin with "Holdfast / "`);
  if (!Number.isInteger(schemaVersion) || schemaVersion < 36) problems.push('schemaVersion is too old');
  const variables = new Set([...templating.list.map(({ name }) => name), '__rate_interval']);
  const ids = new Set<number>();
  const titles = new Set<string>();
  const taken = new Map<string, string>();
  for (const panel of panels) {
    const say = (what: string) => problems.push(`"${panel.title}": ${what}`);
    if (ids.has(panel.id)) say(`id ${panel.id} is used twice`);
    ids.add(panel.id);
    if (panel.title === '') say('has no title');
    const { x, y, w, h } = panel.gridPos;
    if (x < 0 || y < 0 || w < 1 || h < 1 || x + w > 24) say('lies outside of the grid of 24 columns');
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        const at = `${column}/${line}`;
        if (taken.has(at)) say(`lies on "${taken.get(at)}"`);
        taken.set(at, panel.title);
      }
    }
    if (panel.type === 'row') continue;
    if (titles.has(panel.title)) say('has the title of another panel');
    titles.add(panel.title);
    if (!['stat', 'timeseries'].includes(panel.type)) say(`type "${panel.type}" is not among those that are used here`);
    if (!panel.description) say('has no description');
    if (!UNITS.has(panel.fieldConfig?.defaults.unit ?? ''))
      say(`unit "${panel.fieldConfig?.defaults.unit}" is unknown`);
    if (panel.datasource?.uid !== VARIABLE) say('does not use the variable for its data source');
    if (!panel.targets?.length) say('asks nothing');
    const refIds = new Set<string>();
    for (const { refId, expr, datasource } of panel.targets ?? []) {
      if (refIds.has(refId)) say(`refId ${refId} is used twice`);
      refIds.add(refId);
      if (datasource.uid !== VARIABLE) say('a query does not use the variable for its data source');
      for (const [, name = ''] of expr.matchAll(/\$\{?(\w+)/g))
        if (!variables.has(name)) say(`$${name} is no variable`);
    }
  }
  return problems;
}

/** Units of Grafana that are used. */
const UNITS = new Set(['none', 's', 'bytes', 'Bps', 'reqps', 'ops', 'percentunit']);
