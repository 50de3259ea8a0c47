import { BitMarError, messageOf } from '../api/errors.js';
import type { FileRequest, OpenFile } from './platform.js';

/**
 * `readsAllHeaders`: whether the platform shows every header of every server. Browsers hide `content-encoding` from pages of another origin, and
 * show `content-length`, which then may be that of the compressed bytes.
 */
export async function fetchFile(address: string, request: FileRequest, readsAllHeaders: boolean): Promise<OpenFile> {
  if (address.startsWith('data:')) return inlined(address);
  const { signal, from = 0, version, anew } = request;
  const headers = new Headers(request.headers);
  if (from && version) {
    headers.set('range', `bytes=${from}-`);
    headers.set('if-range', version);
  }
  const cache = anew ? { cache: 'reload' as const } : {};
  let response: Response;
  try {
    response = await (request.fetch ?? fetch)(address, { signal, headers, ...cache });
  } catch (error) {
    throw new BitMarError('network', `${address} could not be fetched: ${messageOf(error)}`, { cause: error });
  }
  if (!response.ok || !response.body) {
    void response.body?.cancel();
    throw refusal(address, response);
  }
  const length = response.headers.get('content-length');
  const whole = readsAllHeaders || response.type === 'basic' ? !response.headers.has('content-encoding') : false;
  const resumes = response.status === 206 && new RegExp(`^bytes ${from}-`).test(response.headers.get('content-range') ?? '');
  if (response.status === 206 && !resumes) {
    void response.body.cancel();
    throw new BitMarError('network', `${address} answered with another part than the one asked for`);
  }
  const start = resumes ? from : 0;
  return {
    start,
    size: length === null ? undefined : start + Number(length),
    exact: length !== null && whole,
    version: whole ? versionOf(response.headers) : undefined,
    chunks: chunksOf(response.body),
  };
}

/** Why an answer brings no file. */
export function refusal(address: string, { status, statusText }: Response): BitMarError {
  const code = status === 404 || status === 410 ? 'missing_file' : 'network';
  return new BitMarError(code, `${address} answered ${status} ${statusText}`.trimEnd());
}

/** What names these very bytes, so that the rest of them can be asked for. */
function versionOf(headers: Headers): string | undefined {
  const etag = headers.get('etag');
  if (etag) return etag.startsWith('W/') ? undefined : etag;
  return headers.get('last-modified') ?? undefined;
}

/** Bundlers write small files into their scripts. A Content-Security-Policy may forbid to fetch those. */
function inlined(address: string): OpenFile {
  const comma = address.indexOf(',');
  let bytes: Uint8Array;
  try {
    const body = decodeURIComponent(address.slice(comma + 1));
    const base64 = /;base64$/i.test(address.slice(0, comma));
    bytes = base64 ? Uint8Array.from(atob(body), (character) => character.charCodeAt(0)) : new TextEncoder().encode(body);
  } catch (cause) {
    throw new BitMarError('invalid_argument', `A data: address is damaged: ${messageOf(cause)}`, { cause });
  }
  const chunks = (async function* () {
    yield bytes;
  })();
  return { start: 0, size: bytes.length, exact: true, chunks };
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
