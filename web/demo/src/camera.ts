// The live picture, of a camera or of a screen, as a state machine. It owns the track: none is left on in 'off', and in 'live' its picture
// is in the video element.

export type Wanted = { readonly kind: 'camera'; readonly choice: MediaTrackConstraints } | { readonly kind: 'screen' };

/** Why it is off, where the visitor did not ask for that. */
export type Reason = 'cameraBlocked' | 'cameraNone' | 'cameraBusy' | 'cameraInsecure' | 'cameraGone' | 'screenFailed';

export type CameraState =
  | { readonly is: 'off'; readonly reason?: Reason | undefined }
  /** The browser is asked, or asks the visitor, or the picture has not come yet. */
  | { readonly is: 'starting'; readonly wanted: Wanted }
  /** Muted: no pictures come for now, say from behind a switch of the camera or from a window that was made small. */
  | { readonly is: 'live'; readonly wanted: Wanted; readonly muted: boolean; readonly settings: MediaTrackSettings };

export class Camera {
  readonly #video: HTMLVideoElement;
  readonly #entered: (state: CameraState, before: CameraState) => void;
  #state: CameraState = { is: 'off' };
  #stream: MediaStream | undefined;
  #attempt = 0; // what an earlier one still hears is of no interest

  constructor(video: HTMLVideoElement, entered: (state: CameraState, before: CameraState) => void) {
    this.#video = video;
    this.#entered = entered;
  }

  get state(): CameraState {
    return this.#state;
  }

  /** In place of whatever was there: few phones have two cameras on at a time. */
  start(wanted: Wanted): void {
    this.#release();
    this.#enter({ is: 'starting', wanted });
    void this.#open(wanted, this.#attempt);
  }

  stop(reason?: Reason): void {
    if (this.#state.is === 'off') return;
    this.#release();
    this.#enter({ is: 'off', reason });
  }

  async #open(wanted: Wanted, attempt: number): Promise<void> {
    const current = () => attempt === this.#attempt;
    let stream: MediaStream;
    try {
      stream = await ask(wanted);
    } catch (error) {
      if (current()) this.stop(reasonOf(error, wanted));
      return;
    }
    if (!current()) return end(stream); // nobody waits for it any more
    this.#stream = stream;
    const [track] = stream.getVideoTracks();
    if (!track) return this.stop(wanted.kind === 'screen' ? 'screenFailed' : 'cameraNone');
    const live = () => {
      if (current()) this.#enter({ is: 'live', wanted, muted: track.muted, settings: track.getSettings() });
    };
    const ended = () => {
      if (current()) this.stop(wanted.kind === 'screen' ? undefined : 'cameraGone'); // a screen ends where the visitor says so
    };
    track.addEventListener('ended', ended);
    track.addEventListener('mute', live);
    track.addEventListener('unmute', live);
    this.#video.srcObject = stream;
    if (track.readyState === 'ended') return ended();
    if (track.muted) live(); // no picture to wait for
    try {
      await this.#video.play();
      live();
    } catch {
      if (current()) this.stop(wanted.kind === 'screen' ? 'screenFailed' : 'cameraBusy');
    }
  }

  #release(): void {
    this.#attempt += 1;
    end(this.#stream);
    this.#stream = undefined;
    this.#video.srcObject = null;
  }

  #enter(state: CameraState): void {
    const before = this.#state;
    this.#state = state;
    this.#entered(state, before);
  }
}

async function ask(wanted: Wanted): Promise<MediaStream> {
  if (wanted.kind === 'screen') return navigator.mediaDevices.getDisplayMedia({ audio: false, video: { frameRate: { max: 10 } } });
  if (!navigator.mediaDevices) throw new DOMException('no camera here', isSecureContext ? 'NotFoundError' : 'InsecureError');
  return navigator.mediaDevices.getUserMedia({ audio: false, video: { width: { ideal: 640 }, height: { ideal: 480 }, ...wanted.choice } });
}

function end(stream: MediaStream | undefined): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function reasonOf(error: unknown, wanted: Wanted): Reason | undefined {
  const name = error instanceof DOMException ? error.name : '';
  const denied = name === 'NotAllowedError' || name === 'SecurityError';
  if (wanted.kind === 'screen') return denied ? undefined : 'screenFailed'; // the visitor has chosen none
  if (denied) return 'cameraBlocked';
  if (name === 'InsecureError') return 'cameraInsecure';
  return name === 'NotFoundError' || name === 'OverconstrainedError' ? 'cameraNone' : 'cameraBusy';
}
