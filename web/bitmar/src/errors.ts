/** What can go wrong. */
export const ERROR_CODES = [
  // The engine's own.
  'invalid_image',
  'image_too_large',
  'unsupported_image',
  'invalid_model',
  'invalid_config',
  'missing_file',
  'unsupported_tensor_type',
  'invalid_text',
  'text_too_long',
  'unsupported', // this model cannot do it
  'invalid_argument',
  'out_of_memory',
  'invalid_state', // a saved memory that is damaged, or of another model
  'unsupported_state', // a saved memory of a newer version
  'aborted', // the call's AbortSignal fired
  'unsupported_platform', // no WebAssembly, no SIMD, or a kind of worker or source that this platform lacks
  'network', // a download failed or came short
  'disposed', // dispose() was called
  // The package's.
  'worker_failed', // the worker died or could not start: load the model again
  'read_only', // another tab or process writes this memory
  'storage_full', // the quota is used up: the memory goes on without saving
  'storage_blocked', // another tab or process keeps the storage to itself
  'storage_unavailable', // there is no storage here, or it fails: private mode, no secure context, a broken disk
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export class BitMarError extends Error {
  override readonly name = 'BitMarError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

export function aborted(signal?: AbortSignal): BitMarError {
  return new BitMarError('aborted', 'The call was aborted', { cause: reasonOf(signal) });
}

/** False of what only looks like a signal and throws here. */
export function isAborted(signal?: AbortSignal): boolean {
  try {
    return signal?.aborted === true;
  } catch {
    return false;
  }
}

/** What only looks like a signal may throw here, and where it does the call ends all the same. */
export function reasonOf(signal?: AbortSignal): unknown {
  try {
    return signal?.reason;
  } catch {
    return undefined;
  }
}

export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return 'an error without a message'; // a proxy, or an object without a prototype
  }
}
