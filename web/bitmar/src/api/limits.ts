// How large and how many things may be.

/** Bytes of UTF-8 that a prompt, a question or a text to recall by may have, and a label. The same in include/bitmar/options.h and memory.h. */
export const MOST_TEXT_BYTES = 1 << 16;
/** Bytes of UTF-8 of what the decoder reads: a prefix, a text to score. The same in include/bitmar/options.h. */
export const MOST_READ_BYTES = 1 << 20;
/** Bytes of UTF-8 that a label of the memory may have. */
export const MOST_LABEL_BYTES = 63;

/** The engine's, of captions and answers. */
export const MOST_TOKENS = 1 << 20;
export const MOST_BEAMS = 8;
/** Words expected of a picture to tell of. */
export const MOST_EXPECTED = 1000;

/** Of a timer, in milliseconds: longer ones fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Of a photo's file that is not the browser's to decode, as in src/io/image.h. */
export const MOST_PHOTO_BYTES = 96 << 20;

/** Pixels of a picture, and of its sides, as in src/io/image.h. */
export const MOST_PIXELS = 40_000_000;
export const MOST_SIDE = 16_384;

/** Bytes of a model's files, as in src/io and src/model/model_files.cpp. */
export const MOST_BYTES = { config: 1 << 20, preprocessor: 1 << 20, tokenizer: 8 << 20, weights: 512 << 20 } as const;
