// What starts and stops the live picture, and chooses between cameras: the button, the list, the flip, the mirror.

import type { Camera, CameraState, Wanted } from './camera.js';
import { element } from './dom.js';
import { text } from './text.js';

const video = element<HTMLVideoElement>('video');
const list = element<HTMLSelectElement>('cameras');
const mirror = element<HTMLInputElement>('mirror');
const button = element<HTMLButtonElement>('camera');
const LABELS = { off: 'startCamera', starting: 'cancelCamera', live: 'stopCamera' } as const;

export class CameraControls {
  readonly #camera: Camera;
  #chosen: Wanted = { kind: 'camera', choice: { facingMode: 'environment' } };
  #cameras: readonly MediaDeviceInfo[] = []; // those that may be named, once the visitor has allowed one
  #mirrored: boolean | undefined; // until the visitor says, as the camera faces

  /** `ready`: whether there is a model to look at the picture. */
  constructor(camera: Camera, ready: () => boolean) {
    this.#camera = camera;
    button.addEventListener('click', ({ detail }) => {
      if (camera.state.is === 'starting' && detail > 1) return; // by people who double-click everything
      if (camera.state.is !== 'off') camera.stop();
      else if (ready()) this.start();
    });
    element('screen').hidden = !navigator.mediaDevices?.getDisplayMedia;
    element('screen').addEventListener('click', () => {
      if (ready()) camera.start({ kind: 'screen' });
    });
    element('flip').addEventListener('click', () => this.#flip());
    list.addEventListener('change', () => this.start({ deviceId: { exact: list.value } }));
    mirror.addEventListener('change', () => {
      this.#mirrored = mirror.checked;
      video.classList.toggle('mirrored', mirror.checked);
    });
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.#list());
  }

  /** The camera that was chosen last, or another one from now on. */
  start(choice?: MediaTrackConstraints): void {
    if (choice) this.#chosen = { kind: 'camera', choice };
    this.#camera.start(this.#chosen);
  }

  show(state: CameraState): void {
    element('camera-label').textContent = text(LABELS[state.is]);
    button.setAttribute('aria-pressed', String(state.is === 'live'));
    if (state.is === 'live') {
      const isCamera = state.wanted.kind === 'camera';
      mirror.checked = isCamera && (this.#mirrored ?? state.settings.facingMode === 'user');
      video.classList.toggle('mirrored', mirror.checked);
      element('mirror-line').hidden = !isCamera;
      void this.#list();
    } else {
      element('mirror-line').hidden = true;
    }
    this.#showChoice();
  }

  async #list(): Promise<void> {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    this.#cameras = devices.filter(({ kind, deviceId }) => kind === 'videoinput' && deviceId);
    this.#showChoice();
  }

  #showChoice(): void {
    const { state } = this.#camera;
    const several = this.#cameras.length > 1;
    element('flip').hidden = !several || state.is !== 'live' || state.wanted.kind !== 'camera';
    element('camera-list').hidden = !several;
    list.replaceChildren(...this.#cameras.map(({ deviceId, label }, i) => new Option(label || text('cameraNumber', { number: i + 1 }), deviceId)));
    if (state.is === 'live' && state.settings.deviceId) list.value = state.settings.deviceId;
  }

  /** To the one that faces the other way, where they say how they do; else to the next one. */
  #flip(): void {
    const { state } = this.#camera;
    if (state.is !== 'live' || state.wanted.kind !== 'camera') return; // on its way already
    const { facingMode, deviceId } = state.settings;
    if (facingMode) return this.start({ facingMode: facingMode === 'user' ? 'environment' : 'user' });
    const at = this.#cameras.findIndex((camera) => camera.deviceId === deviceId);
    const next = this.#cameras[(at + 1) % this.#cameras.length];
    if (next) this.start({ deviceId: { exact: next.deviceId } });
  }
}
