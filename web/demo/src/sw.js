// Keeps the page working without a network after its first visit, each version with its own files. The build fills in the first two
// constants, the page's registration the third.
//
// Not Workbox: its precaching (7.4: 15.7 KB) deletes an older version's files when the new one takes over, though pages of the older
// one may be open, and its list is fixed by the build: all the WebAssembly builds, where a browser runs one.

const VERSION = 'VERSION';
/** [address, integrity, 'plain']; 'hashed' in place of 'plain' where the address is never that of another content; or the engine's build that it belongs to. */
const FILES = ['FILES'];
const BUILD = new URL(self.location).searchParams.get('build');

const { scope } = self.registration;
const CACHE = `bitmar ${scope}`; // other versions at other addresses of this origin have theirs
const files = FILES.filter(([, , kind]) => kind === 'plain' || kind === 'hashed' || kind === BUILD).map(([name, integrity, kind]) => {
  const address = new URL(name, scope).href;
  return { address, integrity, plain: kind === 'plain', key: kind === 'plain' ? `${address}?${VERSION}` : address };
});
const plainKeys = new Map(files.filter(({ plain }) => plain).map(({ address, key }) => [address, key]));
plainKeys.set(`${scope}index.html`, plainKeys.get(scope));

/** One after the other, whichever version it is that works on the cache. */
const alone = (work) => navigator.locks.request(CACHE, work);

self.addEventListener('install', (event) => event.waitUntil(alone(install)));

async function install() {
  const cache = await caches.open(CACHE);
  // This version with another build of the engine: nothing that anybody would have to be asked about.
  if (await cache.match(plainKeys.get(scope))) self.skipWaiting();
  await Promise.all(files.map((file) => keep(cache, file)));
}

/**
 * What has a hash in its name comes from the browser's own cache, where the page's first visit left it; the rest is asked for anew, since
 * that cache may hold an older version. In neither case can it be anything but what this version was built with.
 */
async function keep(cache, { address, integrity, plain, key }) {
  if (await cache.match(key)) return;
  const response = await fetch(address, { integrity, cache: plain ? 'no-cache' : 'default' });
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  await cache.put(key, response.redirected ? new Response(response.body, response) : response); // no page opens with a redirected one
}

self.addEventListener('activate', (event) => event.waitUntil(alone(() => tidy())));

self.addEventListener('message', (event) => {
  if (event.data === 'take over') self.skipWaiting();
  if (event.data === 'loaded') event.waitUntil(alone(() => tidy(event.source.id)));
});

/** Deletes what this version does not need, unless a newer one does, or pages other than `page`, which is of this version, may do. */
async function tidy(page) {
  if (self.registration.installing || self.registration.waiting) return;
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  if (pages.some(({ id, url }) => id !== page && url.startsWith(scope))) return;
  const cache = await caches.open(CACHE);
  const keys = new Set(files.map(({ key }) => key));
  for (const request of await cache.keys()) if (!keys.has(request.url)) await cache.delete(request);
  // Those of versions before this way of naming them: each held its page under the address of its scope.
  for (const name of await caches.keys()) {
    if (!/^bitmar-[0-9a-f]{16}$/.test(name)) continue;
    if (await (await caches.open(name)).match(scope)) await caches.delete(name);
  }
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method === 'GET' && request.url.startsWith(scope)) event.respondWith(answer(request));
});

async function answer(request) {
  const url = new URL(request.url);
  url.hash = '';
  if (request.mode === 'navigate') url.search = '';
  const cache = await caches.open(CACHE);
  // Under a name without a hash this version's file; under one with a hash there is one only, this version's or an older page's.
  const found = await cache.match(plainKeys.get(url.href) ?? url.href, { ignoreVary: true });
  return found ?? fetch(request);
}
