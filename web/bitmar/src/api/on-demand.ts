// What few callers need, and then imported. Service workers must not: they put here what they have imported before (../service-worker.ts).

import { BitMarError, messageOf } from './errors.js';

export const ON_DEMAND = {
  hostHere: () => import('../worker/host-here.js'),
  memory: () => import('../memory/parts.js'),
  captionAll: () => import('./caption-all.js'),
  photoFiles: () => import('../platform/photo-files.js'),
  video: () => import('./video.js'),
};

/** One of them. A script that does not arrive is the network's fault. */
export async function demand<Name extends keyof typeof ON_DEMAND>(name: Name): Promise<Awaited<ReturnType<(typeof ON_DEMAND)[Name]>>> {
  try {
    return (await ON_DEMAND[name]()) as Awaited<ReturnType<(typeof ON_DEMAND)[Name]>>;
  } catch (cause) {
    throw new BitMarError('network', `A part of the package could not be loaded: ${messageOf(cause)}`, { cause });
  }
}
