import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse, stringify } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');
const RULES = join(ROOT, 'charts/holdfast/files/alerts.yaml');
const RUNBOOKS = join(ROOT, 'docs/runbooks');
const RUNBOOK_BASE = 'https://holdfast.dev/docs/runbooks/';

interface Rule {
  alert: string;
  expr: string;
  labels: Record<string, string>;
  annotations: { summary: string; description: string; runbook_url: string };
}

interface Expectation {
  alertname: string;
  exp_alerts?: { exp_labels: Record<string, string> }[];
}

const { groups } = parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const cases = readFileSync(join(import.meta.dirname, 'alerts/alerts.promtool.yaml'), 'utf8');
const expectations = (parse(cases) as { tests: { alert_rule_test: Expectation[] }[] }).tests.flatMap(
  (one) => one.alert_rule_test,
);

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-alerts-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function promtool(...args: string[]): string {
  try {
    return execFileSync('promtool', args, { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`promtool ${args.join(' ')}:\n${stdout}${stderr}`);
  }
}

test('the rules are what Prometheus takes', () => {
  promtool('check', 'rules', RULES);
});

test('each alert fires when it should, after the time it says, and not when all is well', () => {
  // promtool compares annotations to the letter: the texts are looked at below, here it is about when.
  const bare = groups.map((group) => ({
    ...group,
    rules: group.rules.map(({ annotations: _, ...rule }) => rule),
  }));
  const ruleFile = join(folder, 'rules.yaml');
  writeFileSync(ruleFile, stringify({ groups: bare }));
  const testFile = join(folder, 'tests.yaml');
  writeFileSync(testFile, cases.replace('[RULES]', `[${ruleFile}]`));
  promtool('test', 'rules', testFile);
});

describe.each(rules.map((rule) => [rule.alert, rule] as const))('%s', (alert, rule) => {
  const own = expectations.filter(({ alertname }) => alertname === alert);
  const fired = own.flatMap((expectation) => expectation.exp_alerts ?? []);

  test('is tested both ways', () => {
    expect(fired.length).toBeGreaterThan(0);
    expect(own.filter((expectation) => expectation.exp_alerts === undefined).length).toBeGreaterThanOrEqual(2);
  });

  test('speaks of labels that it has', () => {
    const { summary, description } = rule.annotations;
    for (const [, label = ''] of `${summary} ${description}`.matchAll(/\$labels\.(\w+)/g)) {
      expect([label, Object.keys(fired[0]?.exp_labels ?? {}).includes(label)]).toEqual([label, true]);
    }
  });

  test('has a page that says what to do', () => {
    expect(rule.annotations.runbook_url).toBe(`${RUNBOOK_BASE}${alert}`);
    const page = readFileSync(join(RUNBOOKS, `${alert}.md`), 'utf8');
    for (const heading of [`# ${alert}`, '## What it means for users', '## Look', '## Do']) {
      expect(page.split('\n')).toContain(heading);
    }
    expect(readFileSync(join(RUNBOOKS, 'README.md'), 'utf8')).toContain(
      `[${alert}](${alert}.md) | ${rule.labels.severity}`,
    );
  });
});

test('no page speaks of an alert that is not there', () => {
  for (const file of readdirSync(RUNBOOKS)) {
    if (file === 'README.md') continue;
    expect([file, rules.some(({ alert }) => `${alert}.md` === file)]).toEqual([file, true]);
  }
});
