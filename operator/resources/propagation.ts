/**
 * Until every pod has what a Secret says: nodes look once a minute, and a busy one is late. Nothing breaks while it takes longer, for
 * connections that stand are not looked at again; it only must not be much shorter.
 */
export const PROPAGATION_MS = 180_000;
