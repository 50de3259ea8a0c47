// Lets one process at a time use a folder, by an operating-system lock on a file in it. The lock ends with the process, however
// that ends. The file is in the folder itself, so that it is the same by every path, in every container.

import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { BitMarError } from '../api/errors.js';

/** Node cannot lock files: an optional dependency can. */
type TryLock = (fd: number) => boolean;

/** Who has just let go of a folder, or is about to, is waited for. */
const ATTEMPTS = 12;
const PAUSE_MS = 25;

export class FolderLock {
  /** Whether the system keeps everyone else out. Not where the library that can ask it is missing. */
  readonly exclusive: boolean;
  readonly #path: string;
  #fd: number | undefined;

  private constructor(path: string, fd: number, exclusive: boolean) {
    this.#path = path;
    this.#fd = fd;
    this.exclusive = exclusive;
  }

  /** Rejects with 'storage_blocked' while another process or model has it. Other errors are the file system's. */
  static async take(folder: string): Promise<FolderLock> {
    const tryLock = await lockOfTheSystem();
    const path = join(folder, 'lock');
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const fd = openSync(path, 'a+');
      const locked = tryLock && locks(tryLock, fd);
      // Another file may have come to that name since it was opened.
      if (locked !== false && isAt(path, fd)) return new FolderLock(path, fd, locked === true);
      closeSync(fd);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    throw new BitMarError('storage_blocked', `${folder} is in use by another process or model`);
  }

  /** Whether it is still the lock of that folder: somebody may have removed the folder, and another process may have made it anew. */
  get holds(): boolean {
    return this.#fd !== undefined && isAt(this.#path, this.#fd);
  }

  release(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** Undefined where the file system has no locks. */
function locks(tryLock: TryLock, fd: number): boolean | undefined {
  try {
    return tryLock(fd);
  } catch {
    return undefined;
  }
}

function isAt(path: string, fd: number): boolean {
  const own = fstatSync(fd);
  const there = statSync(path, { throwIfNoEntry: false });
  return there?.ino === own.ino && there.dev === own.dev;
}

let library: Promise<TryLock | undefined> | undefined;

function lockOfTheSystem(): Promise<TryLock | undefined> {
  return (library ??= import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ 'fs-native-extensions').then(
    (loaded) => (fd) => loaded.default.tryLock(fd),
    () => undefined,
  ));
}
