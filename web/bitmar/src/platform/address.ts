import { nameOf, wrong } from '../api/check.js';

/** What relative addresses are relative to: the page, or the worker's own script. */
export function baseAddress(): string {
  return typeof document === 'undefined' ? location.href : document.baseURI;
}

/**
 * The address of a file of a package, `from` in its folder. Vite's dev server, before version 8, moves the packages' scripts into a folder of its
 * own and leaves the files beside them where they are.
 */
export function unmoved(address: string, from: 'bitmar/dist/' | 'bitmar-model/'): string {
  return address.replace('/node_modules/.vite/deps/', `/node_modules/${from}`);
}

/** An absolute address. */
export function addressOf(address: string | URL, base?: string): URL {
  try {
    return new URL(address, base);
  } catch (cause) {
    throw wrong(`${typeof address === 'string' ? address : nameOf(address)} is no address`, cause);
  }
}

/** Of a file in a folder. What the folder's address asks for (a token, say) holds for its files. */
export function fileIn(folder: URL, file: string): string {
  if (folder.protocol === 'data:') throw wrong('A data: address is no folder');
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  const address = new URL(file, folder);
  address.search = folder.search;
  return address.href;
}
