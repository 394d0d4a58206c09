import { foldCase, hasWildcard, maximumComponentLength } from './names.ts';

const star = '*'.charCodeAt(0);
const questionMark = '?'.charCodeAt(0);
const dosStar = '<'.charCodeAt(0);
const dosQm = '>'.charCodeAt(0);
const dosDot = '"'.charCodeAt(0);
const dot = '.'.charCodeAt(0);

/** Longer patterns match nothing: with every wildcard between two characters, no name could be longer. */
const maximumPatternLength = 2 * maximumComponentLength + 1;

/**
 * Compiles a search pattern (MS-FSA 2.1.4.4: `*`, `?`, DOS_STAR `<`, DOS_QM `>`, DOS_DOT `"`), without regard to case.
 * The function it returns takes at most length of name times length of pattern steps, whatever the pattern.
 */
export function compileWildcard(pattern: string): (name: string) => boolean {
  const folded = foldCase(pattern).replace(/\*+/g, '*');
  if (folded === '*') return () => true;
  if (!hasWildcard(folded)) return (name) => foldCase(name) === folded;
  if (folded.length > maximumPatternLength) return () => false;
  if (folded.startsWith('*') && !hasWildcard(folded.slice(1))) {
    const suffix = folded.slice(1);
    return (name) => foldCase(name).endsWith(suffix);
  }
  if (folded.endsWith('*') && !hasWildcard(folded.slice(0, -1))) {
    const prefix = folded.slice(0, -1);
    return (name) => foldCase(name).startsWith(prefix);
  }
  return stateMachine(Uint16Array.from({ length: folded.length }, (_, i) => folded.charCodeAt(i)));
}

/** Follows all ways to match at once: state i means that the pattern is matched up to its element i. */
function stateMachine(elements: Uint16Array): (name: string) => boolean {
  const count = elements.length;
  let current = new Uint8Array(count + 1);
  let next = new Uint8Array(count + 1);
  return (name) => {
    const folded = foldCase(name);
    const lastDot = folded.lastIndexOf('.');
    current.fill(0);
    current[0] = 1;
    for (let at = 0; at < folded.length; at++) {
      next.fill(0);
      if (!advance(elements, current, next, folded.charCodeAt(at), at === lastDot)) return false;
      [current, next] = [next, current];
    }
    skipEmptyAtEnd(elements, current);
    return current[count] === 1;
  };
}

/** One character. States that need no character pass their mark on in `current`, which is why it runs upwards. */
function advance(
  elements: Uint16Array,
  current: Uint8Array,
  next: Uint8Array,
  unit: number,
  isLastDot: boolean,
): boolean {
  let alive = false;
  for (let state = 0; state < elements.length; state++) {
    if (current[state] === 0) continue;
    const element = elements[state];
    let stays = false;
    let moves = false;
    if (element === star) {
      stays = true;
      current[state + 1] = 1;
    } else if (element === dosStar) {
      // Eats every character but the last dot, which the pattern must match itself.
      stays = !isLastDot;
      current[state + 1] = 1;
    } else if (element === dosQm) {
      // At a dot it matches nothing, so that `a>>>.txt` finds `a.txt`.
      if (unit === dot) current[state + 1] = 1;
      else moves = true;
    } else if (element === dosDot) {
      moves = unit === dot;
    } else {
      moves = element === questionMark || element === unit;
    }
    if (stays) next[state] = 1;
    if (moves) next[state + 1] = 1;
    alive ||= stays || moves;
  }
  return alive;
}

/** At the end of the name every wildcard but `?` may match nothing. */
function skipEmptyAtEnd(elements: Uint16Array, current: Uint8Array): void {
  for (const [state, element] of elements.entries()) {
    if (current[state] === 0) continue;
    if (element === star || element === dosStar || element === dosQm || element === dosDot) current[state + 1] = 1;
  }
}
