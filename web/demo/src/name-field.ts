// A field for a name, which holds as much as the memory keeps of one.

import { MOST_LABEL_BYTES } from 'bitmar';

const encoder = new TextEncoder();

/** Whole characters from the beginning, as many as have room. */
export function cutName(name: string): string {
  let kept = '';
  let bytes = 0;
  for (const { segment } of new Intl.Segmenter().segment(name.replace(/\p{Surrogate}/gu, '\ufffd'))) {
    bytes += encoder.encode(segment).length;
    if (bytes > MOST_LABEL_BYTES) break;
    kept += segment;
  }
  return kept;
}

/** `maxlength` counts UTF-16 units and cuts within characters; the memory counts bytes of UTF-8. An input method is let finish first. */
export function limitName(input: HTMLInputElement, signal?: AbortSignal): void {
  const listen = { ...(signal && { signal }) };
  const cut = () => {
    const kept = cutName(input.value);
    if (kept !== input.value) input.value = kept;
  };
  input.addEventListener('input', (event) => {
    if (!(event as InputEvent).isComposing) cut();
  }, listen);
  input.addEventListener('compositionend', cut, listen);
}
