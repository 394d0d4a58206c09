export { TreeConnect } from './session.ts';
