import type { BitMarError } from '../api/errors.js';
import type { Caption, CaptionOptions, Global } from '../api/types.js';
import type { Store } from '../store/store.js';

/** How a model remembers. Everything stays on the device. */
export interface MemoryOptions {
  /**
   * Slots for episodes, a whole number from 1 to 65,536; by default as many as the model's configuration says. A memory that was kept
   * with more of them keeps these.
   */
  readonly slots?: number | undefined;
  /** With `slots`: where more were kept, the weakest episodes go for good. */
  readonly shrink?: boolean | undefined;
  /**
   * How a new episode changes the memory. 'gated', the default: what resembles an episode strengthens it, what is new takes a free slot or the
   * weakest one's place. 'additive', the paper's rule: once all slots are taken, every one moves towards the new episode by its share.
   */
  readonly policy?: 'gated' | 'additive' | undefined;
  /** False forgets everything with the page or process. True is the default in browsers; node needs `folder` or `store`. */
  readonly persist?: boolean | undefined;
  /** Node: the folder to keep the memory in. One for each model and process. */
  readonly folder?: string | undefined;
  /**
   * What to do with the memory that an earlier model left in the same place, while this one remembers nothing yet. 'embed', the default: its
   * episodes with thumbnails are seen again with this model, and keep their captions, names and times. 'leave': nothing. See `memory.earlier()`.
   */
  readonly earlier?: 'embed' | 'leave' | undefined;
  /** Another place to keep it. `model` is the hash of the model: memories of different models must not mix. */
  readonly store?: ((model: string) => Store) | undefined;
  /** Changes are saved by themselves at most this many milliseconds after they were made. Default 1,000. */
  readonly autosaveMs?: number | undefined;
  /** Bytes of thumbnails; the oldest make room for new ones. Default 16 MiB. */
  readonly thumbnailBytes?: number | undefined;
}

/** Something that the memory holds. */
export interface Episode {
  /** Never used again, not even when the episode is forgotten. */
  readonly id: number;
  /** Milliseconds since 1970, as all times. */
  readonly createdMs: number;
  /** When it was written, met again or touched last. */
  readonly lastUsedMs: number;
  /** How often it was touched. */
  readonly uses: number;
  /** 1 when written, 1 more each time the same was met again. */
  readonly strength: number;
  /** What somebody called it. */
  readonly label: string | null;
  /** What the model said when it was written. */
  readonly caption: string | null;
}

/** An episode that resembles what was asked for. */
export interface Match extends Episode {
  /** Cosine, -1 to 1. */
  readonly similarity: number;
}

/** What something was called that looks like this. */
export interface Recognition {
  /** The name that it was given. */
  readonly label: string;
  /** 0 to 1, calibrated; below the model's threshold nothing is recognised. */
  readonly score: number;
}

/** What the memory knows about a picture or a text. */
export interface Recollection {
  /** The most similar first. */
  readonly matches: readonly Match[];
  /** The name of what it looks like; null where nothing is sure enough. */
  readonly recognised: Recognition | null;
}

/** What became of a new episode. */
export interface Written {
  /** The episode that holds it now. */
  readonly id: number;
  /** Known already and strengthened, or put into a free slot, or into that of the weakest episode. */
  readonly outcome: 'blended' | 'added' | 'replaced';
  /** To the best match before; -1 when there was none. */
  readonly similarity: number;
  /** The episode that had to go. */
  readonly replacedId: number | null;
}

/** A caption that is remembered, and what became of it. */
export interface Remembered extends Written {
  /** The caption that was made of the picture. */
  readonly caption: Caption;
}

interface Timed {
  /** The clock, in milliseconds since 1970. By default it is now. */
  readonly now?: number | undefined;
  /** Rejects with the code 'aborted' and leaves the memory as it was; a change that has been made already stays and resolves. */
  readonly signal?: AbortSignal | undefined;
}

interface Pictured {
  /** A small picture to keep with the episode; true makes one, in browsers. */
  readonly thumbnail?: boolean | Global<'Blob'> | undefined;
}

/** As for a caption, for one is made and remembered too. */
export interface WriteOptions extends Omit<CaptionOptions, 'writeMemory'> {
  /** A name for it, at most 63 bytes of UTF-8. Default: none. */
  readonly label?: string | undefined;
}

/** Options of `memory.teach()`. */
export interface TeachOptions extends Timed, Pictured {}

/** What `memory.recall()` looks for: a picture, a text or both. */
export interface RecallQuery<Source> {
  /** What it looks like. */
  readonly image?: Source | undefined;
  /** What it is. With both, what looks like this and is that. */
  readonly text?: string | undefined;
  /** At most this many matches. Default 10. */
  readonly k?: number | undefined;
  /** At least this similar, -1 to 1. Default -1. */
  readonly minScore?: number | undefined;
  /** Rejects with the code 'aborted'. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `memory.list()`. */
export interface ListOptions {
  /** At most this many. Default 50. */
  readonly limit?: number | undefined;
  /** Where the last page ended. */
  readonly cursor?: number | null | undefined;
}

/** A page of the list of episodes. */
export interface EpisodePage {
  /** The newest first. */
  readonly episodes: readonly Episode[];
  /** For the next page; null at the end. */
  readonly cursor: number | null;
}

/** What another model remembered, in the same place: of no use to this one but for its pictures. */
export interface EarlierMemory {
  /** The hash of that model. */
  readonly model: string;
  /** When it was last saved whole, in milliseconds since 1970. */
  readonly savedMs: number;
  /** How many it holds. */
  readonly episodes: number;
  /** Those with a thumbnail, which could be seen again. The others exist only here. */
  readonly pictured: number;
  /** All of it, for that model to import. */
  export(): Promise<Blob>;
  /** Rejects with 'storage_blocked' while another tab has it open. */
  delete(): Promise<void>;
}

/** How full the memory is, and how much of it is saved. */
export interface MemoryStats {
  /** As many as there are: those asked for, or more where more were kept. */
  readonly slots: number;
  /** The option `slots`; null without it. */
  readonly slotsAsked: number | null;
  /** Slots that hold an episode. */
  readonly occupied: number;
  /** Width of the vectors. */
  readonly width: number;
  /** Of the engine's memory that the slots take. */
  readonly bytes: number;
  /** Grows with every change. */
  readonly sequence: number;
  /** Changes up to this one are durable. */
  readonly savedSequence: number;
  /** Of the saved snapshot and journal. */
  readonly savedBytes: number;
  /** How much of what was kept could not be read: episodes, changes, captions, thumbnails. Its bytes are set aside, not deleted. */
  readonly damaged: number;
  /** Bytes of thumbnails that are kept. */
  readonly thumbnailBytes: number;
}

/** What came of reading a saved memory. */
export interface LoadReport {
  /** Episodes that were read. */
  readonly loaded: number;
  /** Damaged episodes that were left out; none of an import, which is whole or is refused. */
  readonly droppedSlots: number;
  /** Damaged entries of the journal that were left out; none of an import. */
  readonly droppedFrames: number;
  /** The weakest, where there are more episodes than slots and the memory was to shrink. */
  readonly leftOut: number;
}

/** Where the memory lives at this moment. */
export interface StorageStatus {
  /** Whether changes become durable. */
  readonly durable: boolean;
  /**
   * Whether nobody else can write the same memory. False in node where files cannot be locked, because the optional dependency
   * `fs-native-extensions` is missing, or the file system has no locks; and for stores of one's own that do not promise it.
   */
  readonly exclusive: boolean;
  /** As in MemoryStats. */
  readonly damaged: number;
  /** Only one tab writes a memory; the others read it and follow. The role passes on when the writer goes. */
  readonly role: 'writer' | 'reader';
  /** Why it is not durable although it should be; 'read_only' for a folder that can only be read. */
  readonly error: BitMarError | null;
}

/** Some episode changed. */
export class MemoryChangeEvent extends Event {
  /** 'load': everything may have changed, because the memory was opened or another tab wrote. */
  readonly change: 'write' | 'teach' | 'touch' | 'label' | 'forget' | 'clear' | 'import' | 'load';
  /** The episode, where it is one. */
  readonly id: number | null;

  constructor(change: MemoryChangeEvent['change'], id: number | null = null) {
    super('change');
    this.change = change;
    this.id = id;
  }
}

/** The memory became durable, or ceased to be; or this tab got the writer's role; or something was found to be damaged. */
export class MemoryStorageEvent extends Event {
  /** What holds from now on. */
  readonly status: StorageStatus;

  constructor(status: StorageStatus) {
    super('storage');
    this.status = status;
  }
}

/** The memory's events by their names. */
export interface MemoryEvents {
  /** Some episode changed. */
  change: MemoryChangeEvent;
  /** Where the memory lives has changed. */
  storage: MemoryStorageEvent;
}
