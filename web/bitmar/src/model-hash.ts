/** SHA-256 over the weights' own and the configuration, in hexadecimal; undefined where the platform has none (insecure pages). */
export async function modelHash(weights: Uint8Array, config: string): Promise<string | undefined> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return undefined;
  const ofWeights = new Uint8Array(await subtle.digest('SHA-256', weights as Uint8Array<ArrayBuffer>));
  const hash = new Uint8Array(await subtle.digest('SHA-256', new Uint8Array([...ofWeights, ...new TextEncoder().encode(config)])));
  return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
