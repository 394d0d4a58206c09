import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';

/** One file each in scripts/, without the extension. */
export const SCRIPT_NAMES = [
  'open',
  'close',
  'close-all',
  'disconnect',
  'reclaim',
  'lock',
  'state',
  'ack',
  'change',
  'find',
  'gone',
  'let-go',
  'expire',
  'purge',
  'instances',
  'restore',
  'ended',
  'name',
  'session',
  'restore-session',
  'fence',
  'tick',
  'forget',
  'forget-fence',
  'hint',
  'unhint',
  'registry',
  'where',
  'mark',
] as const;
export type ScriptName = (typeof SCRIPT_NAMES)[number];

/**
 * Scripts that may run as parts of one call (batch.lua): those that every CREATE and CLOSE needs, also of files that are made and deleted,
 * and the one by which a server's opens leave it, a portion of each shard at a time.
 */
const BATCHED: readonly ScriptName[] = ['open', 'close', 'close-all', 'name', 'gone', 'let-go'];

export function mayBatch(name: ScriptName): boolean {
  return BATCHED.includes(name);
}

/** Whether it must not fail for want of memory; in a batch it still may, and is called alone then. */
export function relieves(name: ScriptName): boolean {
  return !GROWING.has(name);
}

/**
 * Scripts that Redis carries out although it is out of memory: those that free some, and those without which servers would be taken for
 * dead or handles be lost. What makes the table grow (opens, locks, sessions) is refused then.
 */
const GROWING: ReadonlySet<ScriptName> = new Set(['open', 'lock', 'session', 'name', 'where', 'mark']);

export interface LoadedScript {
  text: string;
  sha: string;
}

/** What one Redis process knows for one life of its data. */
export type Scripts = Record<ScriptName | 'batch', LoadedScript>;

const sources = new Map<string, string>();

/**
 * The scripts for one Redis process and one life of its data. The text carries both, so that the SHA is unknown (NOSCRIPT) to any
 * other, and a decision cannot be made on state that was not put back.
 * @param store "run_id:generation"
 */
export function scriptsFor(store: string): Scripts {
  if (!/^[\w:.-]+$/.test(store)) throw new RangeError(`"${store}" cannot name a store`);
  const result = {} as Scripts;
  const life = createHash('sha1').update(store).digest('hex').slice(0, 16);
  const head = `local STORE = '${store}'\nlocal LIFE = '${life}'\n`;
  for (const name of SCRIPT_NAMES) {
    const flags = GROWING.has(name) ? '' : '#!lua flags=allow-oom\n';
    result[name] = loaded(`${flags}${head}${common(usesOf(name))}\n${source(name)}`);
  }
  result.batch = loaded(head + batch());
  return result;
}

function loaded(text: string): LoadedScript {
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** batch.lua with the decisions as functions; KEYS and ARGV are theirs, one after the other. */
function batch(): string {
  const uses = new Set(BATCHED.flatMap((name) => [...usesOf(name)]));
  const decisions = BATCHED.map((name) => `decisions['${name}'] = function()\n${source(name)}\nend`);
  return [
    "local CALLS, KEYS, ARGV = ARGV, {}, { '', '' }",
    common(uses),
    'local decisions = {}',
    ...decisions,
    source('batch'),
  ].join('\n');
}

/** The sections of common.lua that a script names in its head. */
function usesOf(name: ScriptName): Set<string> {
  return new Set(/^-- Uses: (.*)$/m.exec(source(name))?.[1]?.split(' ') ?? []);
}

function common(uses: ReadonlySet<string>): string {
  const [head = '', ...parts] = source('common').split(/^--\[\[ section (\w+) \]\]\n/m);
  const chosen: string[] = [head];
  for (let i = 0; i + 1 < parts.length; i += 2) if (uses.has(parts[i] ?? '')) chosen.push(parts[i + 1] ?? '');
  return chosen.join('');
}

/** Beside this file; for a build that has only the compiled code beside it, in the tree that it was built from. */
function source(name: string): string {
  let text = sources.get(name);
  if (text === undefined) {
    const places = ['./scripts/', '../../../sidecar/table/scripts/'].map(
      (at) => new URL(`${at}${name}.lua`, import.meta.url),
    );
    text = readFileSync(places.find((place) => existsSync(place)) ?? (places[0] as URL), 'utf8');
    sources.set(name, text);
  }
  return text;
}
