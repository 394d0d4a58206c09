/** Compiles a search pattern (MS-FSA 2.1.4.4: `*`, `?`, DOS_STAR `<`, DOS_QM `>`, DOS_DOT `"`), without regard to case. */
export function compileWildcard(_pattern: string): (name: string) => boolean {
  throw new Error('being written');
}
