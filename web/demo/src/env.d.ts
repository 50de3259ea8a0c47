interface ImportMetaEnv {
  /** The model's address, from vite.config.ts. */
  readonly MODEL_FOLDER: string;
}
