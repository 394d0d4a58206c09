export type { Connection } from './session.ts';
