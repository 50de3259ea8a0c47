export { BitMar } from './api/bitmar.js';
export { MOST_LABEL_BYTES } from './api/limits.js';
export { BitMarError, type ErrorCode } from './api/errors.js';
export type * from './api/types.js';
export type { Memory } from './api/memory.js';
export * from './memory/types.js';
export type { Attachments, EarlierStore, Store, StoredState, Thumbnail } from './store/store.js';
