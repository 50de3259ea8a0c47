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

/**
 * Why a call failed. Further codes may come in a minor version.
 *
 * | code | when |
 * |---|---|
 * | `aborted` | the call's AbortSignal fired |
 * | `disposed` | `dispose()` was called |
 * | `image_too_large` | more than 40 million pixels, or 16,384 on a side |
 * | `invalid_argument` | an argument or option is not what it must be |
 * | `invalid_config` | the model's configuration contradicts itself or its weights |
 * | `invalid_image` | the picture is damaged, empty, or may not be read by this page |
 * | `invalid_model` | the model's files are damaged or no model |
 * | `invalid_state` | a saved memory is damaged, or another model's |
 * | `invalid_text` | half a surrogate pair |
 * | `missing_file` | a file is not there: the model's, the WebAssembly, a photo |
 * | `network` | a download failed or came short |
 * | `out_of_memory` | there is not enough memory |
 * | `read_only` | another tab, model or process writes this memory |
 * | `storage_blocked` | another tab or process keeps the storage to itself |
 * | `storage_full` | the quota is used up: the memory goes on without saving |
 * | `storage_unavailable` | there is no storage here, or it fails: private mode, no secure context, a broken disk |
 * | `text_too_long` | more bytes than allowed, or more tokens than the model takes |
 * | `unsupported` | this model cannot do it |
 * | `unsupported_image` | a picture of a format that is not read here |
 * | `unsupported_platform` | no WebAssembly SIMD or exceptions, or a kind of worker or source that this platform lacks |
 * | `unsupported_state` | a saved memory of a newer version |
 * | `unsupported_tensor_type` | the weights have a type that is not known |
 * | `worker_failed` | the worker died or could not start: load the model again |
 */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Messages quote names and files, which may be anybody's. */
const MOST_MESSAGE_LENGTH = 1000;

/** Every error of the package: a `code` for programs, a message for people. */
export class BitMarError extends Error {
  /** 'BitMarError'. */
  override readonly name = 'BitMarError';
  /** Why the call failed. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message.length > MOST_MESSAGE_LENGTH ? `${message.slice(0, MOST_MESSAGE_LENGTH).replace(/[\ud800-\udbff]$/, '')}...` : message, options);
    this.code = code;
  }
}

export function disposed(): BitMarError {
  return new BitMarError('disposed', 'The model was disposed of');
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

/** What the work gives, or that the signal fired, whichever comes first. The work goes on. */
export function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = () => reject(aborted(signal));
    // What only looks like a signal may throw in all of these.
    const letGo = () => {
      try {
        signal.removeEventListener('abort', stop);
      } catch {
        // it fires for nobody then
      }
    };
    try {
      if (isAborted(signal)) stop();
      else signal.addEventListener('abort', stop, { once: true });
    } catch (cause) {
      reject(new BitMarError('invalid_argument', `signal: ${messageOf(cause)}`, { cause }));
    }
    work.then(resolve, reject).finally(letGo);
  });
}

/** Of an error the place as well, where it says one. Whatever was thrown, this throws nothing. */
export function describeError(error: unknown): string {
  try {
    const { stack } = error as { stack?: unknown };
    if (typeof stack === 'string') return stack;
  } catch {
    // a proxy, or nothing
  }
  return messageOf(error);
}

export function messageOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return 'an error without a message'; // a proxy, or an object without a prototype
  }
}
