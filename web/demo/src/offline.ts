// The page without a network, and its next version: sw.js, and the offer to go on with what it has fetched.

import type { Build } from 'bitmar';
import * as view from './view.js';

// There is none on insecure pages, and none for a page that changes while it is worked on.
const serviceWorker = import.meta.env.PROD ? (navigator.serviceWorker as ServiceWorkerContainer | undefined) : undefined;

/** To be called first: from then on it is known which version this page came from. */
export function watchVersions(): void {
  const own = serviceWorker?.controller;
  if (!own) return;
  own.postMessage('loaded');
  // Another tab took the offer. This one goes on as it is, with its own files, until somebody reloads it.
  serviceWorker.addEventListener('controllerchange', () => {
    if (own.scriptURL === serviceWorker.controller?.scriptURL) view.offerUpdate(() => location.reload());
  });
}

/** Keeps this page, with that build of the engine, for visits without a network. Offers a new version once it is complete. */
export async function keepForOffline(build: Build): Promise<void> {
  const registration = await serviceWorker?.register(`sw.js?build=${build}`);
  if (!registration) return;
  const perhapsOffer = () => {
    const { waiting, active } = registration;
    // Not the first version, and not this version with another build.
    if (waiting && waiting.scriptURL === active?.scriptURL) view.offerUpdate(() => takeOver(waiting));
  };
  perhapsOffer();
  registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', perhapsOffer));
}

function takeOver(waiting: ServiceWorker): void {
  waiting.addEventListener('statechange', () => {
    if (waiting.state === 'activated') location.reload();
  });
  waiting.postMessage('take over');
}
