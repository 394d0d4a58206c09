// The demo's one picture: what every writer's acknowledged writes were over time, with the events marked.

/** One handle's acknowledged writes, counted in buckets of time. */
export interface Series {
  name: string;
  /** Acknowledged writes in bucket i: from startMs + i * bucketMs on. */
  acknowledged: number[];
}

export interface PictureEvent {
  name: string;
  /** Milliseconds since the picture's start. */
  fromMs: number;
  toMs: number;
  summary: string;
}

export interface Picture {
  title: string;
  bucketMs: number;
  series: Series[];
  events: PictureEvent[];
  /** Rows of the table below the picture, the first is its head. */
  table: string[][];
}

const LEFT = 150;
const WIDTH = 1050;
const ROW = 16;
const TOP = 70;

/** A page that stands alone: no script, nothing loaded. */
export function renderPicture(picture: Picture): string {
  const buckets = Math.max(1, ...picture.series.map((one) => one.acknowledged.length));
  const spanMs = buckets * picture.bucketMs;
  const x = (ms: number) => LEFT + (ms / spanMs) * WIDTH;
  const bottom = TOP + picture.series.length * ROW;
  const most = Math.max(1, ...picture.series.flatMap((one) => one.acknowledged));
  const rows = picture.series.map((one, i) => row(one, TOP + i * ROW, picture.bucketMs, most, x)).join('\n');
  const events = picture.events
    .map((event, i) => {
      const from = x(event.fromMs);
      const to = Math.max(x(event.toMs), from + 1);
      return `<rect x="${from.toFixed(1)}" y="${TOP - 6}" width="${(to - from).toFixed(1)}" height="${bottom - TOP + 12}" fill="#d29922" opacity="0.13"/>
<path d="M${from.toFixed(1)} ${TOP - 6}V${bottom + 6}" stroke="#bc4c00" stroke-width="1"/>
<text x="${(from + 3).toFixed(1)}" y="${i % 2 === 0 ? 38 : 56}" fill="#bc4c00" font-weight="600">${escapeHtml(event.name)}<title>${escapeHtml(event.summary)}</title></text>`;
    })
    .join('\n');
  const ticks = Array.from({ length: 11 }, (_, i) => (spanMs * i) / 10)
    .map(
      (ms) =>
        `<path d="M${x(ms).toFixed(1)} ${bottom + 4}v5" stroke="#57606a"/><text x="${x(ms).toFixed(1)}" y="${bottom + 22}" text-anchor="middle" fill="#57606a">${(ms / 1000).toFixed(0)} s</text>`,
    )
    .join('\n');
  const [head, ...body] = picture.table;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(picture.title)}</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem; color: #1f2328; background: #fff; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
table { border-collapse: collapse; margin-top: 1rem; }
td, th { border: 1px solid #d0d7de; padding: .3rem .7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
p { max-width: 60rem; color: #57606a; }
</style></head><body>
<h1>${escapeHtml(picture.title)}</h1>
<p>One row a handle; the darker, the more acknowledged writes in those ${picture.bucketMs} ms; white is a pause. The marks are the events, from their beginning until all writers had gone on.</p>
<svg viewBox="0 0 ${LEFT + WIDTH + 30} ${bottom + 40}" xmlns="http://www.w3.org/2000/svg">
${events}
${rows}
${ticks}
</svg>
<table><thead><tr>${(head ?? []).map((cell) => `<th>${escapeHtml(cell)}</th>`).join('')}</tr></thead>
<tbody>${body.map((cells) => `<tr>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`).join('\n')}</tbody></table>
</body></html>
`;
}

function row(one: Series, y: number, bucketMs: number, most: number, x: (ms: number) => number): string {
  const cells: string[] = [];
  const width = Math.max(0.5, x(bucketMs) - x(0));
  one.acknowledged.forEach((count, i) => {
    if (count === 0) return;
    // The square root shows slow stretches too, where a straight scale would leave them white.
    const shade = (0.2 + 0.8 * Math.sqrt(count / most)).toFixed(2);
    cells.push(
      `<rect x="${x(i * bucketMs).toFixed(2)}" y="${y + 1}" width="${width.toFixed(2)}" height="${ROW - 3}" opacity="${shade}"/>`,
    );
  });
  return `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${escapeHtml(one.name)}</text><g fill="#0969da">${cells.join('')}</g>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] ?? c);
}
