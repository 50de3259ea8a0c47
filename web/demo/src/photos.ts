// Photos from the file dialogue, dropped on the page, or pasted.

import { element } from './dom.js';

export function onPhotos(take: (files: File[]) => void): void {
  const takeAny = (files: FileList | null | undefined) => {
    if (files?.length) take([...files]);
  };
  const input = element<HTMLInputElement>('file');
  element('choose').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    takeAny(input.files);
    input.value = ''; // the same photo may be chosen again
  });

  const root = document.documentElement;
  let depth = 0; // dragenter and dragleave also come for every element within
  const dropping = (on: boolean) => {
    if (!on) depth = 0;
    element('stage').classList.toggle('dropping', on);
  };
  root.addEventListener('dragenter', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    depth += 1;
    dropping(true);
  });
  root.addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    if (depth === 0) dropping(false);
  });
  root.addEventListener('dragover', (event) => event.preventDefault());
  root.addEventListener('drop', (event) => {
    event.preventDefault();
    dropping(false);
    takeAny(event.dataTransfer?.files);
  });

  document.addEventListener('paste', (event) => takeAny(event.clipboardData?.files));
}
