// One remembered moment, opened: to be named or forgotten.

import type { Episode, Memory } from 'bitmar';
import { ago } from './ago.js';
import { element } from './dom.js';
import { limitName } from './name-field.js';
import { LANGUAGE, text } from './text.js';

export class MomentDialog {
  readonly #memory: Memory;
  readonly #dialog = element<HTMLDialogElement>('moment');
  readonly #name = element<HTMLInputElement>('moment-name');
  #episode: Episode | undefined;

  constructor(memory: Memory, fail: (error: unknown) => void, closed: AbortSignal) {
    this.#memory = memory;
    const on = <E extends Event>(target: HTMLElement, event: string, listener: (event: E) => void) =>
      target.addEventListener(event, listener as (event: Event) => void, { signal: closed });
    const act = (id: string, action: (episode: Episode) => Promise<unknown>) =>
      on(element(id), 'click', () => {
        const episode = this.#episode;
        this.#dialog.close();
        if (episode) action(episode).catch(fail);
      });
    act('moment-save', ({ id }) => this.#memory.label(id, this.#name.value.trim() || null));
    act('moment-forget', ({ id }) => this.#memory.forget(id));
    act('moment-close', () => Promise.resolve());
    limitName(this.#name, closed);
    on<KeyboardEvent>(this.#name, 'keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      element('moment-save').click();
    });
    on(this.#dialog, 'click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // outside of it
    });
  }

  open(episode: Episode, url: string | undefined): void {
    this.#episode = episode;
    const picture = element<HTMLImageElement>('moment-picture');
    picture.hidden = !url;
    if (url) picture.src = url;
    element('moment-caption').textContent = episode.caption ?? episode.label ?? '';
    const when = { ago: ago(episode.createdMs), date: new Date(episode.createdMs).toLocaleString(LANGUAGE), count: Math.round(episode.strength) };
    element('moment-time').textContent = text(episode.strength >= 2 ? 'momentMet' : 'momentWhen', when);
    this.#name.value = episode.label ?? '';
    this.#dialog.showModal();
  }
}
