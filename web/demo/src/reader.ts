// Reads captions aloud, while its button is pressed; by voices of this device alone, for others would send the text away.

import { element } from './dom.js';

const button = element('speak');
const speech = globalThis.speechSynthesis as SpeechSynthesis | undefined;

export class Reader {
  #on = false;
  #text = '';
  #read = '';

  constructor() {
    const offer = () => (button.hidden = !voice());
    speech?.addEventListener('voiceschanged', offer); // they come when they come
    offer();
    button.addEventListener('click', () => {
      this.#on = !this.#on;
      button.setAttribute('aria-pressed', String(this.#on));
      this.#read = '';
      speech?.cancel();
      this.read(this.#text);
    });
  }

  /** A new caption. A live picture has one before the last is read: then the newest follows. */
  read(text: string): void {
    this.#text = text;
    if (!this.#on || !text || text === this.#read || speech!.speaking) return;
    this.#read = text;
    const utterance = Object.assign(new SpeechSynthesisUtterance(text), { voice: voice() ?? null, lang: 'en' });
    utterance.addEventListener('end', () => this.read(this.#text));
    speech!.speak(utterance);
  }
}

/** Captions are English, whatever the page is. */
function voice(): SpeechSynthesisVoice | undefined {
  return speech?.getVoices().find(({ localService, lang }) => localService && /^en\b/.test(lang));
}
