// One tab writes: the one that holds the Web Lock. The others wait for the lock and follow what the writer announces on a
// BroadcastChannel. A tab that closes, crashes or is killed releases the lock, and the browser gives it to the next.

import { BitMarError } from '../api/errors.js';

export const NO_LOCKS = 'Memories are kept only by pages of a secure context: https, or localhost';

/** What the writer tells the others. */
export interface WriterNews {
  /** The frame that was kept; none after a snapshot took the place of everything, when the store must be read again. */
  readonly frame?: Uint8Array;
  /** The engine's sequence numbers before and after. */
  readonly from: number;
  readonly to: number;
  /** Changes to the captions that came with the frame, in this order. */
  readonly cleared?: boolean;
  readonly removed?: readonly number[];
  readonly captions?: ReadonlyMap<number, string>;
}

export interface WriterEvents {
  /** The role has come to this tab, some time after `join` said that another has it. */
  granted(): void;
  /** The writer has kept something. */
  news(news: WriterNews): void;
}

/** A part in the choice of the writer. */
export interface Membership {
  /** Tells the others; for the writer only. */
  tell(news: WriterNews): void;
  /** Gives the role, or the claim to it, away. */
  leave(): void;
}

/** Whether Web Locks and BroadcastChannel are here: in pages of a secure context. */
export function canChooseWriter(): boolean {
  return typeof navigator === 'object' && 'locks' in navigator && typeof BroadcastChannel === 'function';
}

/** Claims the role of the writer of what goes by that name. `writer` is whether this tab has got it at once. */
export async function join(name: string, events: WriterEvents): Promise<Membership & { writer: boolean }> {
  if (!canChooseWriter()) throw new BitMarError('storage_unavailable', NO_LOCKS);
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }: MessageEvent<WriterNews>) => events.news(data);
  const claim = new AbortController();
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));

  const writer = await new Promise<boolean>((decided, failed) => {
    const take = (lock: Lock | null): Promise<void> | undefined => {
      decided(lock !== null);
      return lock ? held : undefined;
    };
    navigator.locks.request(name, { ifAvailable: true }, take).catch(failed);
  });
  if (!writer) {
    const wait = navigator.locks.request(name, { signal: claim.signal }, () => {
      events.granted();
      return held;
    });
    wait.catch(() => {}); // left
  }
  return {
    writer,
    tell: (news) => channel.postMessage(news),
    leave() {
      claim.abort();
      release();
      channel.close();
    },
  };
}
