// The box under the picture: a question, and the answer to it. One at a time, and only of the picture that is shown.

import { BitMarError, type Answer } from 'bitmar';
import { element } from './dom.js';
import { number, text } from './text.js';

/** Answers less likely than this are shown as guesses. */
const UNSURE = 0.4;

// Of what the model reads: English, whatever the page is.
const EXAMPLES = ['What is this?', 'Where is this?', 'What color is it?', 'How many people are there?'];

const box = element<HTMLFormElement>('ask');
const input = element<HTMLInputElement>('question');
const answer = element('answer');

export class Questions {
  readonly #ask: (question: string, signal: AbortSignal) => Promise<Answer> | undefined;
  readonly #failed: (error: unknown) => void;
  #asked: AbortController | undefined; // the question that waits for its answer

  /** `ask` gives nothing while there is no picture to ask about. */
  constructor(ask: (question: string, signal: AbortSignal) => Promise<Answer> | undefined, failed: (error: unknown) => void) {
    this.#ask = ask;
    this.#failed = failed;
    box.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#answer();
    });
    element('examples').append(...EXAMPLES.map((question) => this.#example(question)));
  }

  /** With a model that answers questions the box can be used; with another there is none. */
  open(canAsk: boolean): void {
    box.hidden = !canAsk;
    for (const control of box.querySelectorAll<HTMLInputElement | HTMLButtonElement>('input, button')) control.disabled = !canAsk;
  }

  /** The picture is another one: what was asked and answered was about the last. */
  forget(): void {
    this.#asked?.abort();
    this.#asked = undefined;
    show();
  }

  #example(question: string): HTMLLIElement {
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: question, disabled: true });
    button.addEventListener('click', () => {
      input.value = question;
      void this.#answer();
    });
    const item = document.createElement('li');
    item.append(button);
    return item;
  }

  async #answer(): Promise<void> {
    const question = input.value.trim();
    if (!question) return input.focus();
    this.forget();
    const { signal } = (this.#asked = new AbortController());
    answer.classList.add('waiting');
    try {
      const found = await this.#ask(question, signal);
      if (!signal.aborted) show(found);
    } catch (error) {
      if (signal.aborted) return;
      const long = error instanceof BitMarError && error.code === 'text_too_long';
      show(undefined, long ? text('questionTooLong') : '');
      if (!long) this.#failed(error);
    }
  }
}

function show(found?: Answer, message = ''): void {
  answer.className = 'answer';
  answer.replaceChildren(message);
  if (!found) return;
  answer.classList.toggle('declined', found.declined);
  if (found.declined) return answer.replaceChildren(text('declined'));
  const unsure = found.confidence < UNSURE;
  answer.classList.toggle('unsure', unsure);
  const said = Object.assign(document.createElement('strong'), { textContent: found.answer });
  const sure = Object.assign(document.createElement('span'), { textContent: text('sure', { percent: `${number(100 * found.confidence)} %` }) });
  answer.replaceChildren(...(unsure ? [`${text('perhaps')} `] : []), said, ' ', sure);
}
