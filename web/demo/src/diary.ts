// What the page remembers: a timeline that can be searched, named, exported and forgotten.

import { BitMarError, type EarlierMemory, type Episode, type Match, type Memory } from 'bitmar';
import { ago } from './ago.js';
import { download, element, today } from './dom.js';
import { MomentDialog } from './moment.js';
import { number, text } from './text.js';

const PAGE = 24;
/** A search shows what fits at least this well, and at most so many. */
const MIN_SIMILARITY = 0.2;
const MOST_FOUND = 24;

export class Diary {
  readonly #memory: Memory;
  readonly #fail: (error: unknown) => void;
  readonly #dialog: MomentDialog;
  readonly #urls = new Map<number, string>(); // object URLs of thumbnails, by episode
  #shown = PAGE;
  #drawing = 0; // the newest drawing wins
  #earlier: readonly EarlierMemory[] = []; // what other models left here
  #searching: AbortController | undefined;
  #later: ReturnType<typeof setTimeout> | undefined;
  readonly #closed = new AbortController();

  constructor(memory: Memory, fail: (error: unknown) => void) {
    this.#memory = memory;
    this.#fail = fail;
    this.#dialog = new MomentDialog(memory, fail, this.#closed.signal);
    const { signal } = this.#closed;
    const on = (id: string, event: string, act: () => void) => element(id).addEventListener(event, act, { signal });
    memory.addEventListener('change', ({ change, id }) => {
      if (change === 'forget' && id !== null) this.#freeUrl(id);
      if (change === 'clear' || change === 'import' || change === 'load') for (const each of [...this.#urls.keys()]) this.#freeUrl(each);
      this.#drawSoon();
    }, { signal });
    memory.addEventListener('storage', () => this.#showStatus(), { signal });
    on('search', 'input', () => this.#draw());
    on('more', 'click', () => {
      this.#shown += PAGE;
      this.#draw();
    });
    on('export', 'click', () => this.#try(() => this.#export()));
    const file = element<HTMLInputElement>('import-file');
    on('import', 'click', () => file.click());
    on('import-file', 'change', () => {
      const chosen = file.files?.[0];
      file.value = '';
      if (chosen) this.#try(() => this.#import(chosen));
    });
    on('forget-all', 'click', () => this.#try(() => this.#forgetAll()));
    on('earlier-export', 'click', () => this.#try(() => this.#exportEarlier()));
    on('earlier-delete', 'click', () => this.#try(() => this.#deleteEarlier()));
  }

  /** Another diary takes its place on the page. */
  close(): void {
    this.#closed.abort();
    clearTimeout(this.#later);
    this.#searching?.abort();
    for (const each of [...this.#urls.keys()]) this.#freeUrl(each);
  }

  /** Opens the memory and shows what it holds. */
  async open(): Promise<void> {
    await this.#memory.open();
    element('diary').hidden = false;
    this.#showStatus();
    this.#draw();
    await this.#showEarlier();
  }

  #try(action: () => Promise<void>): void {
    action().catch(this.#fail);
  }

  /** Live captions change the memory many times a second. */
  #drawSoon(): void {
    this.#later ??= setTimeout(() => {
      this.#later = undefined;
      this.#draw();
    }, 250);
  }

  #draw(): void {
    this.#try(async () => {
      const turn = (this.#drawing += 1);
      this.#searching?.abort();
      const { signal } = (this.#searching = new AbortController());
      const wanted = element<HTMLInputElement>('search').value.trim();
      try {
        const { occupied, slots } = await this.#memory.stats();
        const found = wanted ? await this.#search(wanted, signal) : await this.#newest();
        if (turn !== this.#drawing) return;
        element('diary-count').textContent = occupied ? text('diaryCount', { occupied: number(occupied), slots: number(slots) }) : '';
        element('more').hidden = wanted !== '' || occupied <= this.#shown;
        for (const id of ['search', 'export']) element<HTMLButtonElement>(id).disabled = occupied === 0;
        element<HTMLButtonElement>('forget-all').disabled = occupied === 0 || this.#memory.storage.role === 'reader';
        element('moments-empty').textContent = emptyText(occupied, found.length);
        element('moments-empty').hidden = found.length > 0;
        await this.#show(found, turn);
      } catch (error) {
        if (!(error instanceof BitMarError && error.code === 'aborted')) throw error;
      }
    });
  }

  async #search(text: string, signal: AbortSignal): Promise<readonly Match[]> {
    return (await this.#memory.recall({ text, k: MOST_FOUND, minScore: MIN_SIMILARITY, signal })).matches;
  }

  async #newest(): Promise<readonly Episode[]> {
    return (await this.#memory.list({ limit: this.#shown })).episodes;
  }

  async #show(episodes: readonly (Episode | Match)[], turn: number): Promise<void> {
    const cards = await Promise.all(episodes.map((episode) => this.#card(episode)));
    if (turn === this.#drawing) element('moments').replaceChildren(...cards);
  }

  async #card(episode: Episode | Match): Promise<HTMLElement> {
    const { id, label, caption, createdMs } = episode;
    const said = label ?? caption ?? text('something');
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.episode = String(id);
    const url = await this.#url(id);
    const picture = url ? Object.assign(document.createElement('img'), { src: url, alt: '' }) : document.createElement('div');
    picture.className = 'thumb';
    const words = Object.assign(document.createElement('span'), { className: label ? 'said named' : 'said', textContent: said });
    const when = Object.assign(document.createElement('time'), { textContent: ago(createdMs), dateTime: new Date(createdMs).toISOString() });
    button.append(picture, words, when);
    button.addEventListener('click', () => this.#dialog.open(episode, url));
    const item = document.createElement('li');
    item.append(button);
    return item;
  }

  async #url(id: number): Promise<string | undefined> {
    const known = this.#urls.get(id);
    if (known) return known;
    const thumbnail = await this.#memory.thumbnail(id);
    if (!thumbnail) return undefined;
    const url = URL.createObjectURL(thumbnail);
    this.#urls.set(id, url);
    return url;
  }

  #freeUrl(id: number): void {
    const url = this.#urls.get(id);
    if (url) URL.revokeObjectURL(url);
    this.#urls.delete(id);
  }

  async #export(): Promise<void> {
    download(await this.#memory.export(), `bitmar-memory-${today()}.bin`);
  }

  /** What has a picture was seen again with this model. The rest is the visitor's to keep or to delete. */
  async #showEarlier(): Promise<void> {
    this.#earlier = await this.#memory.earlier();
    const all = this.#earlier.reduce((sum, { episodes }) => sum + episodes, 0);
    const left = this.#earlier.reduce((sum, { episodes, pictured }) => sum + episodes - pictured, 0);
    const rest = left ? text('earlierLeft', { count: left }) : text('earlierPictured');
    element('earlier-text').textContent = `${text('earlier', { count: all })} ${rest}`;
    element('earlier').hidden = all === 0;
  }

  async #exportEarlier(): Promise<void> {
    for (const { model, export: exported } of this.#earlier) download(await exported(), `bitmar-memory-${model.slice(0, 8)}-${today()}.bin`);
  }

  async #deleteEarlier(): Promise<void> {
    for (const each of this.#earlier) await each.delete();
    await this.#showEarlier();
  }

  async #import(file: File): Promise<void> {
    const { occupied } = await this.#memory.stats();
    if (occupied && !confirm(text('importSure', { count: occupied }))) return;
    await this.#memory.import(file);
    await this.#memory.flush();
  }

  async #forgetAll(): Promise<void> {
    if (!confirm(text('forgetAllSure'))) return;
    await this.#memory.clear();
    await this.#memory.flush();
    await this.#deleteEarlier();
  }

  #showStatus(): void {
    const { durable, role, damaged, error } = this.#memory.storage;
    const reads = role === 'reader';
    element('reading').hidden = !reads;
    for (const id of ['remember', 'teach-name', 'teach', 'import', 'forget-all']) element<HTMLInputElement | HTMLButtonElement>(id).disabled = reads;
    const parts = [text('diaryStays')];
    if (reads) parts.push(text('diaryFollows'));
    else if (!durable) parts.push(error ? text('diaryLostBecause', { reason: error.message }) : text('diaryLost'));
    if (damaged) parts.push(text('diaryDamaged', { count: damaged }));
    element('diary-status').textContent = parts.join(' ');
  }
}

function emptyText(occupied: number, found: number): string {
  if (occupied === 0) return text('diaryEmpty');
  return found === 0 ? text('diaryNoneFits') : '';
}
