// The camera and its ways to fail.

const BLOCKED =
  'The camera is blocked for this page. You can allow it in the browser’s address bar. Photos work all the same.';
const NONE = 'No camera was found. Photos work all the same: choose one, or try a sample.';
const BUSY = 'The camera could not be started: another program may be using it. Photos work all the same.';
const INSECURE = 'Browsers give the camera to https pages and to localhost only. Photos work all the same.';

export class CameraError extends Error {}

export class Camera {
  readonly #video: HTMLVideoElement;
  #stream: MediaStream | undefined;
  #turn = 0; // the newest start counts, and none from before a stop

  constructor(video: HTMLVideoElement) {
    this.#video = video;
  }

  get running(): boolean {
    return this.#stream !== undefined;
  }

  /**
   * Resolves once the video has a picture; with false where another start or a stop came in between, which then has the say.
   * `onEnded`: the camera was unplugged or taken away.
   */
  async start(onEnded: () => void, choice: MediaTrackConstraints = { facingMode: 'environment' }): Promise<boolean> {
    this.stop();
    const turn = this.#turn;
    if (!navigator.mediaDevices) throw new CameraError(isSecureContext ? NONE : INSECURE);
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: { ideal: 640 }, height: { ideal: 480 }, ...choice } });
    } catch (error) {
      if (turn !== this.#turn) return false;
      throw cameraError(error);
    }
    if (turn !== this.#turn) {
      end(stream);
      return false;
    }
    this.#stream = stream;
    stream.getVideoTracks()[0]?.addEventListener('ended', () => {
      if (turn === this.#turn) onEnded();
    });
    this.#video.srcObject = stream;
    this.#video.classList.toggle('mirrored', this.#settings().facingMode === 'user');
    try {
      await this.#video.play();
    } catch (error) {
      if (turn === this.#turn) throw error;
    }
    return turn === this.#turn;
  }

  stop(): void {
    this.#turn += 1;
    end(this.#stream);
    this.#stream = undefined;
    this.#video.srcObject = null;
  }

  /** What to start with to get another camera; undefined where there is one only. */
  async other(): Promise<MediaTrackConstraints | undefined> {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === 'videoinput');
    if (cameras.length < 2) return undefined;
    const { facingMode, deviceId } = this.#settings();
    if (facingMode) return { facingMode: facingMode === 'user' ? 'environment' : 'user' };
    const at = cameras.findIndex((camera) => camera.deviceId === deviceId);
    return { deviceId: { exact: cameras[(at + 1) % cameras.length]!.deviceId } };
  }

  #settings(): MediaTrackSettings {
    return this.#stream?.getVideoTracks()[0]?.getSettings() ?? {};
  }
}

function end(stream: MediaStream | undefined): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function cameraError(error: unknown): CameraError {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return new CameraError(BLOCKED, { cause: error });
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return new CameraError(NONE, { cause: error });
  return new CameraError(BUSY, { cause: error });
}
