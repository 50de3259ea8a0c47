import { BitMarError, messageOf } from './errors.js';
import type { OpenFile } from './platform.js';

export async function fetchFile(address: string, signal: AbortSignal): Promise<OpenFile> {
  if (address.startsWith('data:')) return inlined(address);
  let response: Response;
  try {
    response = await fetch(address, { signal });
  } catch (error) {
    throw new BitMarError('network', `${address} could not be fetched: ${messageOf(error)}`, { cause: error });
  }
  if (!response.ok || !response.body) {
    void response.body?.cancel();
    const code = response.status === 404 || response.status === 410 ? 'missing_file' : 'network';
    throw new BitMarError(code, `${address} answered ${response.status} ${response.statusText}`.trimEnd());
  }
  const length = response.headers.get('content-length');
  return {
    size: length === null ? undefined : Number(length),
    exact: length !== null && !response.headers.has('content-encoding'),
    chunks: chunksOf(response.body),
  };
}

/** Bundlers write small files into their scripts. A Content-Security-Policy may forbid to fetch those. */
function inlined(address: string): OpenFile {
  const comma = address.indexOf(',');
  const body = decodeURIComponent(address.slice(comma + 1));
  const base64 = /;base64$/i.test(address.slice(0, comma));
  const bytes = base64 ? Uint8Array.from(atob(body), (character) => character.charCodeAt(0)) : new TextEncoder().encode(body);
  const chunks = (async function* () {
    yield bytes;
  })();
  return { size: bytes.length, exact: true, chunks };
}

/** Streams are not iterable everywhere. */
async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
