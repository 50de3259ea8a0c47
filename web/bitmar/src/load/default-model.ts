// The model of the package `bitmar-model`.

import { BitMarError, messageOf } from '../api/errors.js';
import type { ModelAddresses } from '../api/types.js';
import { unmoved } from '../platform/address.js';
import { platform } from '../platform/platform.js';

/** Its addresses, or that of its folder. */
export async function defaultModel(): Promise<string | ModelAddresses> {
  try {
    const { config, tokenizer, preprocessor, weights, sha256 } = (await import('bitmar-model')).default;
    const at = (address: string) => unmoved(address, 'bitmar-model/');
    return { config: at(config), tokenizer: at(tokenizer), preprocessor: at(preprocessor), weights: at(weights), sha256 };
  } catch (cause) {
    const beside = folderBeside();
    if (beside) return beside;
    throw new BitMarError('missing_file', `The package bitmar-model cannot be imported (${messageOf(cause)}): install it, or give load() the address of a model`, { cause });
  }
}

/** Without a bundler or an import map nobody knows the name. The package then lies beside this one, on a CDN in the same version. */
function folderBeside(): string | undefined {
  const own = /^(https?:.*\/)bitmar(@[^/]*)?\/dist\/wasm\/[^/]*$/.exec(platform().wasmAddress('simd'));
  return own ? `${own[1]}bitmar-model${own[2] ?? ''}/model/` : undefined;
}
