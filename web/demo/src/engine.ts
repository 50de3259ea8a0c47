// The model: loaded, and loaded again where its worker was lost.

import { BitMar, BitMarError } from 'bitmar';
import { text } from './text.js';
import * as view from './view.js';

/** A model that stops again within this time is not started again without being asked for. */
const LEAST_UPTIME_MS = 20_000;

export class Engine {
  /** None while it is loaded, or loaded again. */
  model: BitMar | undefined;
  #restartedAt = -Infinity;
  readonly #opened: (model: BitMar) => Promise<void>;
  readonly #lost: () => void;

  constructor(opened: (model: BitMar) => Promise<void>, lost: () => void) {
    this.#opened = opened;
    this.#lost = lost;
  }

  async load(): Promise<void> {
    view.notice('');
    view.showLoading(true);
    try {
      this.model = await BitMar.load(import.meta.env.MODEL_FOLDER, { onProgress: view.showProgress });
    } catch (error) {
      if (error instanceof BitMarError && error.code === 'unsupported_platform') return view.notice(text('noSimd'));
      return view.notice(text('notLoaded', { reason: messageOf(error) }), () => void this.load());
    } finally {
      view.showLoading(false);
    }
    await this.#opened(this.model);
  }

  /** Rejects with 'disposed' while there is no model. */
  async use<Result>(work: (model: BitMar) => Promise<Result>): Promise<Result> {
    if (!this.model) throw new BitMarError('disposed', 'The model is not loaded');
    return work(this.model);
  }

  /** A lost worker (a phone that ran short of memory, say) is started again; anything else is said. */
  readonly failed = (error: unknown): void => {
    if (error instanceof BitMarError && (error.code === 'disposed' || error.code === 'aborted')) return; // of a model that was lost, of a picture that is gone
    if (error instanceof BitMarError && error.code === 'worker_failed') this.#restart();
    else view.notice(messageOf(error));
  };

  /** Once, however many calls have failed; and not over and over by itself. */
  #restart(): void {
    const dead = this.model;
    if (!dead) return;
    this.model = undefined;
    this.#lost();
    dead.dispose();
    const again = performance.now() - this.#restartedAt < LEAST_UPTIME_MS;
    this.#restartedAt = performance.now();
    if (again) view.notice(text('stoppedAgain'), () => void this.load());
    else void this.load();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
