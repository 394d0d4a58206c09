import type { OpenTable } from '../session/open-table.ts';

/** The opens of this process, in memory. */
export interface Opens extends OpenTable {}
