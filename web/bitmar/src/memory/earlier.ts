// Memories that other models left: encodes them again with this model, or exports them.

import { BitMarError } from '../api/errors.js';
import type { EngineEpisode } from '../engine.js';
import { checkedState } from '../store/checks.js';
import type { EarlierStore, StoredState, Thumbnail } from '../store/store.js';
import { asThumbnail } from '../store/thumbnails.js';
import type { HostClient } from '../worker/host-client.js';
import type { Picture } from '../worker/protocol.js';
import { writeArchive } from './archive.js';
import type { EarlierMemory } from './types.js';

/** An episode that is in this model's memory now. */
interface Brought {
  readonly id: number;
  readonly caption: string | undefined;
  readonly thumbnail: Thumbnail;
}

/** Keys and values mean something to their own model only; of what has a picture this one makes its own. The memory must be empty. */
export async function bringOver(earlier: EarlierStore, host: HostClient, see: (thumbnail: Thumbnail) => Promise<Picture>): Promise<Brought[]> {
  const { state, episodes } = await read(earlier, host);
  const pictured = episodes.filter(({ id }) => state.thumbnails.has(id)).sort((a, b) => a.id - b.id);
  const { slots } = await host.memory('stats', {});
  if (pictured.length > slots) await host.memory('configure', { slots: pictured.length });
  const brought: Brought[] = [];
  for (const episode of pictured) {
    const { id, label } = episode;
    const caption = state.captions.get(id);
    try {
      const thumbnail = await earlier.thumbnail(id);
      if (!thumbnail) continue;
      await host.memory('restore', { picture: await see(thumbnail), episode, text: label ?? caption ?? '' });
      brought.push({ id, caption, thumbnail });
    } catch (error) {
      if (!isUnreadable(error)) throw error; // it stays where it is
    }
  }
  return brought;
}

export async function describe(earlier: EarlierStore, host: HostClient): Promise<EarlierMemory> {
  const { model, savedMs } = earlier;
  const { state, episodes } = await read(earlier, host);
  return {
    model,
    savedMs,
    episodes: episodes.length,
    pictured: episodes.filter(({ id }) => state.thumbnails.has(id)).length,
    async export() {
      const { state, snapshot, episodes } = await read(earlier, host);
      const thumbnails = new Map<number, Thumbnail>();
      for (const { id } of episodes) {
        const thumbnail = state.thumbnails.has(id) ? await readable(earlier.thumbnail(id)) : undefined;
        if (thumbnail) thumbnails.set(id, asThumbnail(thumbnail));
      }
      return writeArchive({ model, snapshot, captions: state.captions, thumbnails });
    },
    delete: () => earlier.delete(),
  };
}

async function read(earlier: EarlierStore, host: HostClient): Promise<{ state: StoredState; snapshot: Uint8Array; episodes: EngineEpisode[] }> {
  const state = checkedState(await earlier.load());
  const { snapshot, frames } = state;
  return { state, ...(await host.memory('merged', { snapshot, frames })) };
}

/** Undefined where it is damaged; a disk that fails says nothing about it. */
async function readable(thumbnail: Promise<Thumbnail | undefined>): Promise<Thumbnail | undefined> {
  return thumbnail.catch((error: unknown) => {
    if (error instanceof BitMarError && error.code === 'invalid_state') return undefined;
    throw error;
  });
}

/** Of one picture or text, not of everything. */
function isUnreadable(error: unknown): boolean {
  const codes = ['invalid_image', 'image_too_large', 'unsupported_image', 'invalid_text', 'text_too_long', 'invalid_state'];
  return error instanceof BitMarError && codes.includes(error.code);
}
