export { BitMar } from './bitmar.js';
export { MOST_LABEL_BYTES } from './limits.js';
export { BitMarError, type ErrorCode } from './errors.js';
export type * from './types.js';
export type { Memory } from './memory.js';
export * from './memory-types.js';
export type { Attachments, EarlierStore, Store, StoredState, Thumbnail } from './store.js';
