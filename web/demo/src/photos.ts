// A photo from the file dialogue, dropped on the page, or pasted.

import { element } from './dom.js';

export function onPhoto(take: (file: File) => void): void {
  const input = element<HTMLInputElement>('file');
  element('choose').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    const file = input.files?.[0];
    if (file) take(file);
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
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });

  document.addEventListener('paste', (event) => {
    const file = event.clipboardData?.files[0];
    if (file) take(file);
  });
}
