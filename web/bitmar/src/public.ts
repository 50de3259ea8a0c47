export { BitMar } from './bitmar.js';
export { BitMarError, type ErrorCode } from './errors.js';
export type * from './types.js';
