// The stage on the whole screen.

import { element } from './dom.js';

export function offerFullScreen(): void {
  const [stage, button] = [element('stage'), element('full-screen')];
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener('click', () => void (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen()).catch(() => {}));
  document.addEventListener('fullscreenchange', () => button.setAttribute('aria-pressed', String(document.fullscreenElement === stage)));
}

/** What is beside the stage is to be seen. */
export function leaveFullScreen(): void {
  if (document.fullscreenElement) void document.exitFullscreen().catch(() => {});
}
