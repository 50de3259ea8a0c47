// What can be done with a caption: copied, shared, read aloud.

import { element } from './dom.js';
import { Reader } from './reader.js';
import { text } from './text.js';
import { say } from './view.js';

const tools = element('caption-tools');
const share = element<HTMLButtonElement>('share');

export class CaptionTools {
  readonly #reader = new Reader();
  readonly #picture: () => Promise<File | undefined>;
  #said = '';

  /** `picture`: what the caption is about. */
  constructor(picture: () => Promise<File | undefined>) {
    this.#picture = picture;
    element('copy').addEventListener('click', () => void copy(this.#said));
    share.hidden = typeof navigator.share !== 'function';
    share.addEventListener('click', () => void this.#share());
  }

  /** The caption of what is shown; '' while there is none. */
  show(said: string): void {
    this.#said = said;
    tools.hidden = !said;
    this.#reader.read(said);
  }

  /** With the picture, where that can be shared. */
  async #share(): Promise<void> {
    const data: ShareData = { title: 'BitMar', text: this.#said };
    try {
      const picture = await this.#picture();
      const both = { ...data, ...(picture && { files: [picture] }) };
      await navigator.share(picture && navigator.canShare?.(both) ? both : data);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === 'AbortError')) say(text('shareFailed')); // the visitor thought better of it
    }
  }
}

export async function copy(said: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(said);
    say(text('copied'));
  } catch {
    say(text('copyFailed'));
  }
}
