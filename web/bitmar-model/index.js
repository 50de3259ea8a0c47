// Where the model's files are, and what they are. Written out so that bundlers see them.
import sha256 from './model/checksums.js';

export default {
  config: new URL('./model/config.json', import.meta.url).href,
  tokenizer: new URL('./model/tokenizer.json', import.meta.url).href,
  preprocessor: new URL('./model/preprocessor_config.json', import.meta.url).href,
  weights: new URL('./model/model.safetensors', import.meta.url).href,
  sha256,
};
