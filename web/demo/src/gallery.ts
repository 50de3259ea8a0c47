// The visitor's photos of this visit, with their captions; they go with the page.

import type { Captions } from './captions.js';
import { element } from './dom.js';
import { thumbnailOf } from './frame.js';
import type { Photo } from './photo.js';
import { text } from './text.js';

const box = element('gallery');
const list = element('gallery-photos');

interface Card {
  readonly item: HTMLLIElement;
  readonly button: HTMLButtonElement;
  readonly image: HTMLImageElement;
  readonly said: HTMLElement;
}

export class Gallery {
  readonly #captions: Captions;
  readonly #choose: (photo: Photo) => void;
  readonly #failed: (error: unknown) => void;
  readonly #cards = new Map<Photo, Card>();
  #shown: Photo | undefined;
  #working = false;

  constructor(captions: Captions, choose: (photo: Photo) => void, failed: (error: unknown) => void) {
    this.#captions = captions;
    this.#choose = choose;
    this.#failed = failed;
  }

  /** All captions, a line each. */
  get text(): string {
    return [...this.#cards.keys()].flatMap(({ caption }) => caption?.text ?? []).join('\n');
  }

  add(photos: readonly Photo[]): void {
    for (const photo of photos) {
      const card = this.#card(photo);
      this.#cards.set(photo, card);
      list.append(card.item);
      this.draw(photo);
    }
    this.work();
  }

  /** That one is on the stage now; none where the live picture or a sample is. */
  mark(photo: Photo | undefined): void {
    this.#shown = photo;
    for (const [each, { button }] of this.#cards) button.setAttribute('aria-pressed', String(each === photo));
    if (photo) this.#cards.get(photo)?.item.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    this.#showBox();
  }

  /** None of them may be shown after that. */
  clear(): void {
    for (const [{ url }, { image }] of this.#cards) for (const each of [url, image.src]) URL.revokeObjectURL(each);
    this.#cards.clear();
    list.replaceChildren();
    this.#showBox();
  }

  /** Captions for those without one, one after the other, so that what is on the stage never waits for more than one of them. */
  work(): void {
    if (this.#working) return;
    this.#working = true;
    this.#captionAll()
      .catch(this.#failed)
      .finally(() => (this.#working = false));
  }

  async #captionAll(): Promise<void> {
    for (let photo: Photo | undefined; (photo = [...this.#cards.keys()].find(({ caption }) => !caption)); ) {
      const waiting = photo;
      await this.#captions.of(waiting).catch((error: unknown) => {
        if (!waiting.unreadable) throw error;
      });
    }
  }

  /** A photo that is on the stage alone needs no gallery. */
  #showBox(): void {
    const [first, ...others] = this.#cards.keys();
    box.hidden = !first || (others.length === 0 && first === this.#shown);
  }

  #card(photo: Photo): Card {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.setAttribute('aria-pressed', 'false');
    const image = Object.assign(document.createElement('img'), { alt: '' });
    const said = document.createElement('span');
    button.append(image, said);
    button.addEventListener('click', () => this.#choose(photo));
    const item = document.createElement('li');
    item.append(button);
    image.classList.toggle('mirrored', photo.mirrored);
    return { item, button, image, said };
  }

  /** With its caption, where it has one by now. What is no picture goes. */
  draw(photo: Photo): void {
    const card = this.#cards.get(photo);
    if (!card) return;
    if (photo.unreadable) {
      card.item.remove();
      this.#cards.delete(photo);
      URL.revokeObjectURL(photo.url);
    }
    this.#showBox();
    card.said.textContent = photo.caption?.text ?? text('galleryWaiting');
    if (photo.caption && !card.image.src) void this.#drawThumbnail(photo, card);
  }

  async #drawThumbnail({ source }: Photo, { item, image }: Card): Promise<void> {
    const thumbnail = await thumbnailOf(source as Blob).catch(() => undefined);
    if (thumbnail && item.isConnected) image.src = URL.createObjectURL(thumbnail);
  }
}
