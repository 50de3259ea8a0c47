// Calls the caller's listeners and callbacks so that what they throw does no harm.

import { platform } from '../platform/platform.js';
import { unlike } from './check.js';

type Listener = Parameters<EventTarget['addEventListener']>[1];
type Options = Parameters<EventTarget['addEventListener']>[2];
type Callback = (event: Event) => void;

/** Calls a function of the caller's. `failed` gets what it throws, or what it rejects with where it is asynchronous. */
export function guarded(call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call();
    // Of another realm, too: `instanceof` would not know its promises.
    if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') Promise.resolve(result).catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** As EventTarget. What a listener throws is reported on every platform: node would end the process. */
export class SafeEventTarget extends EventTarget {
  readonly #guarded = new WeakMap<NonNullable<Listener>, Callback>();

  override addEventListener(type: string, listener: Listener, options?: Options): void {
    super.addEventListener(type, this.#guard(listener), options);
  }

  override removeEventListener(type: string, listener: Listener, options?: Options): void {
    super.removeEventListener(type, this.#guard(listener), options);
  }

  /** Always the same for the same listener, so that it can be removed, and is not added twice. */
  #guard(listener: Listener | undefined): Callback | null {
    if (listener === null || listener === undefined) return null;
    if (typeof listener !== 'function' && typeof listener !== 'object') throw unlike('A listener', 'a function', listener);
    let callback = this.#guarded.get(listener);
    if (!callback) {
      callback = (event) =>
        guarded(
          () => (typeof listener === 'function' ? listener.call(this, event) : listener.handleEvent(event)),
          (error) => platform().report(error),
        );
      this.#guarded.set(listener, callback);
    }
    return callback;
  }
}
