/** The addresses of the model's files, for `BitMar.load()`. */
declare const model: {
  readonly config: string;
  readonly tokenizer: string;
  readonly preprocessor: string;
  readonly weights: string;
};
export default model;
