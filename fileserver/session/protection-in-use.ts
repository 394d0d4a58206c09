import { CipherId, Dialect, SigningAlgorithmId } from '../../smb/constants.ts';
import type { Session } from './session.ts';

/** What protects the messages of a session: names of few values each, fit for labels of a metric. */
export interface Protection {
  /** "3.1.1" */
  readonly dialect: string;
  /** The algorithm that requests must be signed with, or "none". */
  readonly signing: string;
  /** The cipher that requests must come in, of the whole session or of a share that it has connected to, or "none". */
  readonly encryption: string;
}

/** How a session that is set up is protected; undefined for one that is not (any more). */
export function protectionOf(session: Session): Protection | undefined {
  const { security, state } = session;
  if (state !== 'Valid' || security === undefined) return undefined;
  const isEncrypted = session.encryptData || [...session.trees.values()].some((tree) => tree.encryptData);
  return {
    dialect: dialectName(security.dialect),
    signing: session.signingRequired ? nameIn(SigningAlgorithmId, security.signingAlgorithm) : 'none',
    encryption: isEncrypted && session.sealer ? nameIn(CipherId, security.cipherId) : 'none',
  };
}

/** "3.1.1" for 0x0311, "2.1" for 0x0210: a digit each; a last zero is left out where three would not be usual. */
function dialectName(dialect: number): string {
  const digits = [dialect >> 8, (dialect >> 4) & 0xf, dialect & 0xf];
  return (dialect === Dialect.SMB_2_1 || dialect === Dialect.SMB_3_0 ? digits.slice(0, 2) : digits).join('.');
}

function nameIn(names: Record<string, number>, value: number | undefined): string {
  const name = Object.keys(names).find((candidate) => names[candidate] === value);
  return name?.replaceAll('_', '-') ?? 'none';
}
