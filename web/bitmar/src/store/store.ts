// Where a memory is kept. The engine's state comes as bytes (a snapshot, and frames of what changed since); captions and
// thumbnails, of which the engine knows nothing, lie beside it.

/** A small JPEG, WebP or PNG file. */
export interface Thumbnail {
  /** Its media type, such as `image/jpeg`. */
  readonly type: string;
  /** The whole file. */
  readonly bytes: Uint8Array;
}

/** What goes with the episodes of a snapshot or a frame. Applied in the order of the fields. */
export interface Attachments {
  /** Everything that was there before goes first. */
  readonly cleared: boolean;
  /** Ids of episodes that are gone, with their captions and thumbnails. */
  readonly removed: readonly number[];
  /** Ids of episodes whose thumbnails had to make room. */
  readonly evicted: readonly number[];
  /** New captions, by the ids of their episodes. */
  readonly captions: ReadonlyMap<number, string>;
  /** New thumbnails, by the ids of their episodes. */
  readonly thumbnails: ReadonlyMap<number, Thumbnail>;
}

/** Everything but the thumbnails' contents. */
export interface StoredState {
  /** Null when nothing was ever kept. */
  readonly snapshot: Uint8Array | null;
  /** What changed since the snapshot, oldest first. */
  readonly frames: readonly Uint8Array[];
  /** The number of the last change in these; 0 when nothing was ever kept. */
  readonly sequence: number;
  /** By the ids of their episodes. */
  readonly captions: ReadonlyMap<number, string>;
  /** Bytes of each thumbnail, by its episode's id. */
  readonly thumbnails: ReadonlyMap<number, number>;
  /** How much was there that could not be read. */
  readonly damaged?: number | undefined;
  /** Whether frames cannot follow these: the next change needs a `replace`. */
  readonly rewrite?: boolean | undefined;
}

/** What another model remembered, in the same place. */
export interface EarlierStore {
  /** The hash of that model. */
  readonly model: string;
  /** When it was last saved whole, in milliseconds since 1970. */
  readonly savedMs: number;
  /** All of it. */
  load(): Promise<StoredState>;
  /** After a `load`. */
  thumbnail(id: number): Promise<Thumbnail | undefined>;
  /** Deletes it for good. */
  delete(): Promise<void>;
}

/**
 * Keeps one memory. Only one writer uses a store at a time, one call after the other; readers may load at any moment and
 * see the state between two changes. Failures are BitMarErrors with a code `storage_...` and leave what was kept as it was.
 */
export interface Store {
  /** Whether what is kept outlives the page or process. */
  readonly durable: boolean;
  /** What is kept; everything empty where nothing was. */
  load(): Promise<StoredState>;
  /**
   * Adds a frame, whose last change has that number. Resolves when everything has reached the disk: either all of it is kept or nothing. False when what the
   * frame builds on is gone, because somebody cleared the storage: then nothing was kept, and a `replace` is due.
   */
  append(frame: Uint8Array, sequence: number, attachments: Attachments): Promise<boolean>;
  /** Puts a snapshot in the place of the old one and of all frames. All or nothing, as above. */
  replace(snapshot: Uint8Array, sequence: number, attachments: Attachments): Promise<void>;
  /** Rejects with 'invalid_state' when it is damaged. */
  thumbnail(id: number): Promise<Thumbnail | undefined>;
  /** `close` follows as soon as what is under way has ended. */
  ending?(): void;
  /** Ends what is under way, and gives back whatever was taken, also by a `load` that has not resolved yet. */
  close(): void;

  // ---- What a store may do beyond that ----

  /** Whether nobody else can write at the same time. Where it is missing, and `group` too, nobody promises that. */
  readonly exclusive?: boolean;
  /** Browsers: among the tabs whose stores have this in common, one writes and the others follow it. */
  readonly group?: string;
  /** After a `load`: whether it can only be read. */
  readonly readOnly?: boolean;
  /** Whether what was kept last is still there. */
  holds?(): Promise<boolean>;
  /** Keeps all that is there in another place, because some of it could not be read and is about to be replaced. */
  setAside?(): Promise<void>;
  /** Deletes what was set aside. */
  dropAside?(): Promise<void>;
  /** Erases these episodes from what was set aside, and nothing else. */
  eraseAside?(ids: readonly number[]): Promise<void>;
  /** What other models remembered in the same place. */
  earlier?(): Promise<readonly EarlierStore[]>;
}
