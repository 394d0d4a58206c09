/** A column: its head, and whether it is numbers, which stand at the right. */
export interface Column {
  head: string;
  isNumber?: boolean;
}

const GAP = '   ';

/** Columns as wide as what is in them, as kubectl prints them. What is not known is "-". */
export function formatTable(columns: readonly Column[], rows: readonly (string | number | undefined)[][]): string[] {
  const texts = rows.map((row) => row.map((cell) => (cell === undefined || cell === '' ? '-' : String(cell))));
  const widths = columns.map(({ head }, i) => Math.max(head.length, ...texts.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (columns[i]?.isNumber ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join(GAP)
      .trimEnd();
  return [line(columns.map(({ head }) => head)), ...texts.map(line)];
}

/** How long ago, as kubectl writes it: 42s, 7m, 3h, 5d. @param ms undefined: not known */
export function age(ms: number | undefined): string | undefined {
  if (ms === undefined || Number.isNaN(ms)) return undefined;
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
