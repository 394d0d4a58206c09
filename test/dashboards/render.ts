// The chart's dashboards as one page, with what a Prometheus has for them: for looking at them without a Grafana.
import { type Dashboard, filledIn, type Panel } from './dashboard.ts';
import type { Prometheus, Range } from './prometheus.ts';

const COLOURS = [
  '#0969da',
  '#bc4c00',
  '#1a7f37',
  '#8250df',
  '#cf222e',
  '#9a6700',
  '#0a7ea4',
  '#bf3989',
  '#57606a',
  '#4d2d00',
];
const COLUMN = 54;
const LINE = 34;
const LEFT = 58;
const BOTTOM = 22;
const TOP = 30;
const LEGEND = 34;
const SHOWN = 10;
const NO_DATA = 'no data';

export interface Span {
  fromS: number;
  toS: number;
  variables: Parameters<typeof filledIn>[1];
}

/** @returns a page that stands alone (no script, nothing loaded), and the panels that show nothing */
export async function renderDashboards(
  all: Iterable<Dashboard>,
  prometheus: Prometheus,
  span: Span,
): Promise<{ page: string; empty: string[] }> {
  const parts: string[] = [];
  const empty: string[] = [];
  for (const dashboard of all) {
    const height = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * LINE;
    const panels = await Promise.all(dashboard.panels.map((panel) => renderPanel(panel, prometheus, span)));
    for (const [i, panel] of dashboard.panels.entries()) {
      if (panels[i]?.includes(NO_DATA)) empty.push(`${dashboard.title}: ${panel.title}`);
    }
    parts.push(
      `<h2 id="${dashboard.uid}">${escapeHtml(dashboard.title)}</h2>`,
      `<svg viewBox="0 0 ${24 * COLUMN} ${height}" width="${24 * COLUMN}" height="${height}">${panels.join('\n')}</svg>`,
    );
  }
  const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Holdfast dashboards</title>
<style>body{font:14px system-ui,sans-serif;margin:1.5rem;color:#1f2328;background:#f6f8fa}svg{font:11px system-ui,sans-serif}h2{margin:1.5rem 0 .5rem}</style>
</head><body>
${parts.join('\n')}
</body></html>
`;
  return { page, empty };
}

async function renderPanel(panel: Panel, prometheus: Prometheus, span: Span): Promise<string> {
  const { x, y, w, h } = panel.gridPos;
  const at = `<g transform="translate(${x * COLUMN},${y * LINE})">`;
  const width = w * COLUMN - 6;
  const height = h * LINE - 6;
  if (panel.type === 'row')
    return `${at}<text x="4" y="20" font-size="15" font-weight="600">${escapeHtml(panel.title)}</text></g>`;
  const frame = `<rect width="${width}" height="${height}" rx="4" fill="#fff" stroke="#d0d7de"/><text x="8" y="18" font-weight="600">${escapeHtml(panel.title)}<title>${escapeHtml(panel.description ?? '')}</title></text>`;
  const unit = panel.fieldConfig?.defaults.unit ?? 'none';
  const lines = (
    await Promise.all(
      (panel.targets ?? []).map(async ({ expr, legendFormat }) => {
        const found = await prometheus.range(filledIn(expr, span.variables), span.fromS, span.toS);
        return found.map((range) => ({ name: legend(legendFormat, range), points: pointsOf(range) }));
      }),
    )
  ).flat();
  const body = panel.type === 'stat' ? number(lines, unit, width, height) : graph(lines, unit, width, height, span);
  return `${at}${frame}${body}</g>`;
}

interface Line {
  name: string;
  points: [number, number][];
}

function pointsOf({ values }: Range): [number, number][] {
  return values
    .map(([atS, value]): [number, number] => [atS, Number(value)])
    .filter(([, value]) => Number.isFinite(value));
}

function legend(format: string, { metric }: Range): string {
  return format.replace(/\{\{(\w+)\}\}/g, (_, name: string) => metric[name] ?? '');
}

function number(lines: Line[], unit: string, width: number, height: number): string {
  const last = lines[0]?.points.at(-1)?.[1];
  const text = last === undefined ? NO_DATA : format(last, unit);
  return `<text x="${width / 2}" y="${height / 2 + 22}" text-anchor="middle" font-size="28" fill="${last === undefined ? '#cf222e' : '#1a7f37'}">${escapeHtml(text)}</text>`;
}

function graph(lines: Line[], unit: string, width: number, height: number, span: Span): string {
  const drawn = lines.filter(({ points }) => points.length > 0);
  if (drawn.length === 0)
    return `<text x="${width / 2}" y="${height / 2}" text-anchor="middle" fill="#cf222e">${NO_DATA}</text>`;
  const most = niceAbove(Math.max(...drawn.flatMap(({ points }) => points.map(([, value]) => value))));
  const [plotW, plotH] = [width - LEFT - 10, height - TOP - BOTTOM - LEGEND];
  const px = (atS: number) => LEFT + ((atS - span.fromS) / Math.max(1, span.toS - span.fromS)) * plotW;
  const py = (value: number) => TOP + plotH - (value / most) * plotH;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = py(most * part).toFixed(1);
    return `<path d="M${LEFT} ${at}H${width - 10}" stroke="#eaeef2"/><text x="${LEFT - 5}" y="${Number(at) + 4}" text-anchor="end" fill="#57606a">${format(most * part, unit)}</text>`;
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const atS = span.fromS + (span.toS - span.fromS) * part;
    return `<text x="${px(atS).toFixed(1)}" y="${TOP + plotH + 15}" text-anchor="middle" fill="#57606a">${Math.round(atS - span.fromS)} s</text>`;
  });
  const paths = drawn.map(({ points }, i) => {
    const d = points
      .map(([atS, value], j) => `${j === 0 ? 'M' : 'L'}${px(atS).toFixed(1)} ${py(value).toFixed(1)}`)
      .join('');
    const dot =
      points.length === 1
        ? `<circle cx="${px(points[0]?.[0] ?? 0)}" cy="${py(points[0]?.[1] ?? 0)}" r="2" fill="${colour(i)}"/>`
        : '';
    return `<path d="${d}" fill="none" stroke="${colour(i)}" stroke-width="1.5"/>${dot}`;
  });
  let [lx, ly] = [8, height - LEGEND + 8];
  const names = drawn.slice(0, SHOWN).map(({ name }, i) => {
    const wide = 22 + name.length * 6;
    if (lx + wide > width && lx > 8) [lx, ly] = [8, ly + 14];
    const text = `<rect x="${lx}" y="${ly - 8}" width="8" height="8" fill="${colour(i)}"/><text x="${lx + 12}" y="${ly}">${escapeHtml(name)}</text>`;
    lx += wide;
    return text;
  });
  const more =
    drawn.length > SHOWN ? `<text x="${lx}" y="${ly}" fill="#57606a">and ${drawn.length - SHOWN} more</text>` : '';
  return [...grid, ...ticks, ...paths, ...names, more].join('');
}

const colour = (i: number): string => COLOURS[i % COLOURS.length] ?? '#000';

/** 1, 2, 2.5 or 5 times a power of ten, at least as much. */
function niceAbove(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= value * 0.9999) ?? 10);
}

function format(value: number, unit: string): string {
  if (unit === 'percentunit') return `${round(value * 100)} %`;
  if (unit === 's') return value !== 0 && value < 0.9995 ? `${round(value * 1000)} ms` : `${round(value)} s`;
  const scaled =
    value >= 1e9
      ? `${round(value / 1e9)} G`
      : value >= 1e6
        ? `${round(value / 1e6)} M`
        : value >= 1e4
          ? `${round(value / 1e3)} k`
          : round(value);
  const suffix = unit === 'Bps' ? 'B/s' : unit === 'bytes' ? 'B' : unit === 'reqps' || unit === 'ops' ? '/s' : '';
  return suffix === '' ? scaled : `${scaled}${/[GMk]$/.test(scaled) ? '' : ' '}${suffix}`;
}

function round(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
