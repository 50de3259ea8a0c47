/** The addresses of the model's files and their SHA-256 in hexadecimal, for `BitMar.load()`. */
declare const model: {
  readonly config: string;
  readonly tokenizer: string;
  readonly preprocessor: string;
  readonly weights: string;
  readonly sha256: { readonly config: string; readonly tokenizer: string; readonly preprocessor: string; readonly weights: string };
};
export default model;
