import type { Codec } from '../../../smb/fscc/fields.ts';

/** What a query found: the whole structure. */
export interface Found {
  output: Buffer;
  /** Bytes that must fit for anything to be returned. */
  minimumSize: number;
  /** There is more than went in: STATUS_BUFFER_OVERFLOW. */
  isCut?: boolean;
}

/** What a query found, or the status of its refusal. */
export type Answer = Found | { status: number };

export function encoded<T>(codec: Codec<T>, value: T): Found {
  return { output: codec.encode(value), minimumSize: codec.queryMinimumSize };
}
