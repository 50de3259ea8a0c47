/** In hexadecimal; undefined where the platform has no SHA-256 (insecure pages). */
export async function sha256Of(bytes: Uint8Array): Promise<string | undefined> {
  const hash = await digest(bytes);
  return hash && hexOf(hash);
}

/** SHA-256 over the weights' own and the configuration, in hexadecimal; undefined where the platform has none. */
export async function modelHash(weights: Uint8Array, config: string): Promise<string | undefined> {
  const ofWeights = await digest(weights);
  return ofWeights && sha256Of(new Uint8Array([...ofWeights, ...new TextEncoder().encode(config)]));
}

async function digest(bytes: Uint8Array): Promise<Uint8Array | undefined> {
  const hash = await globalThis.crypto?.subtle?.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return hash && new Uint8Array(hash);
}

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
