// Tells the page what the memory has become, call by call, so that another worker can go on with the same memory.

import type { Engine } from '../engine.js';
import type { MemoryCopy, MemoryQuestion } from './protocol.js';

/** Frames that are smaller than this together are never replaced by a snapshot. */
const LEAST_FRAME_BYTES = 64 << 10;

export class MemoryTeller {
  #sequence = 0; // the last change that was told
  #snapshotBytes = -1; // none yet
  #frameBytes = 0; // since

  /** After a call, of the memory where it is one of its own. Null where there is nothing to tell. */
  after(engine: Engine, call?: MemoryQuestion): MemoryCopy | null {
    const { slots, sequence } = engine.memoryStats();
    const another = call !== undefined && isAnother(call);
    if (!another && sequence === this.#sequence) return null;
    if (!another && this.#snapshotBytes >= 0 && this.#frameBytes <= Math.max(this.#snapshotBytes, LEAST_FRAME_BYTES)) {
      const frame = engine.memoryChanges(this.#sequence);
      this.#sequence = sequence;
      this.#frameBytes += frame.length;
      return { frame };
    }
    const snapshot = engine.memorySnapshot();
    this.#sequence = sequence;
    this.#snapshotBytes = snapshot.length;
    this.#frameBytes = 0;
    return { slots, snapshot };
  }
}

/** Whether the memory is another one after it, which need not follow from the one before. */
function isAnother({ name, question }: MemoryQuestion): boolean {
  return name === 'configure' || name === 'adopt' || name === 'clear' || (name === 'load' && question.snapshot !== null);
}
