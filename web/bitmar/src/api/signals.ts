import { reading } from './check.js';
import { isAborted, reasonOf } from './errors.js';

/** The controller's signal, which fires with the caller's too. */
export function anyOf(signal: AbortSignal | null | undefined, controller: AbortController): AbortSignal {
  const stop = () => controller.abort(reasonOf(signal ?? undefined));
  if (isAborted(signal ?? undefined)) stop();
  else reading('signal', () => signal?.addEventListener('abort', stop, { once: true, signal: controller.signal }));
  return controller.signal;
}

/** So that `using` ends it, where the platform knows that. */
export function disposable<Thing extends object>(thing: Thing, dispose: (this: Thing) => void): Thing {
  if (typeof Symbol.dispose === 'symbol') Object.defineProperty(thing, Symbol.dispose, { value: dispose, configurable: true, writable: true });
  return thing;
}
