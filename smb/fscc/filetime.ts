/** 1970-01-01 as FILETIME: 100 ns since 1601-01-01 UTC. */
const unixEpochFiletime = 116_444_736_000_000_000n;

/** FILETIME (100 ns since 1601) of a Unix time in nanoseconds; what is finer than 100 ns is cut off towards the past. */
export function filetimeFromUnixNs(unixNs: bigint): bigint {
  const ticks = unixNs / 100n;
  return (unixNs < 0n && unixNs % 100n !== 0n ? ticks - 1n : ticks) + unixEpochFiletime;
}

/** Unix time in nanoseconds of a FILETIME. */
export function unixNsFromFiletime(filetime: bigint): bigint {
  return (filetime - unixEpochFiletime) * 100n;
}
