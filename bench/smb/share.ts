import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fillForRates } from '../contestants.ts';

/** The directory that is listed, and how many names it has. */
export const DIRECTORY = 'entries';
export const ENTRIES = 10_000;

/** Where files are made and deleted again. */
export const NEW_FILES = 'new';

/** The files that the works use. */
export function fillShare(directory: string): void {
  fillForRates(directory);
  mkdirSync(join(directory, NEW_FILES), { mode: 0o777 });
  const entries = join(directory, DIRECTORY);
  mkdirSync(entries, { mode: 0o777 });
  for (let i = 0; i < ENTRIES; i++) writeFileSync(join(entries, `entry ${i} of many.txt`), '', { mode: 0o666 });
}
