import type { StorageStatus } from './types.js';

/** Where a memory lives before it is opened. */
export const UNOPENED: StorageStatus = { durable: false, exclusive: true, role: 'writer', damaged: 0, error: null };
