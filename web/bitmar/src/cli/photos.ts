// The photos that the command line names: files, folders and standard input.

import { createReadStream, readdirSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';

import { checkPhotoSize } from '../api/check.js';
import { BitMarError, messageOf } from '../api/errors.js';
import { type Asked, STANDARD_INPUT } from './arguments.js';

const PHOTO = /\.(jpe?g|png)$/i;

/** Every photo of a folder in the folder's place, by its path. One without photos stays, to be complained about. */
export function withoutFolders(asked: readonly Asked[]): Asked[] {
  return asked.flatMap((each) => {
    if (!isFolder(each.photo)) return [each];
    const folder = each.photo.replace(/\/+$/, '');
    const names = (readdirSync(each.photo, { recursive: true }) as string[]).filter((name) => PHOTO.test(name));
    const photos = names.map((name) => `${folder}/${name}`).filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
    return photos.length ? photos.sort().map((photo) => ({ ...each, photo })) : [each];
  });
}

export async function readPhoto(path: string): Promise<Blob> {
  if (path === STANDARD_INPUT) return read(process.stdin);
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new Error('there are no photos in this folder');
    checkPhotoSize(found.size);
    return await read(createReadStream(path));
  } catch (error) {
    if (error instanceof BitMarError) throw error;
    throw new BitMarError('missing_file', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** No more than a photo's bytes: a device or a pipe may never end. */
async function read(input: AsyncIterable<Buffer>): Promise<Blob> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    checkPhotoSize((bytes += chunk.length));
    chunks.push(chunk);
  }
  return new Blob(chunks as unknown as Uint8Array<ArrayBuffer>[]);
}

function isFolder(path: string): boolean {
  return path !== STANDARD_INPUT && (statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false);
}
