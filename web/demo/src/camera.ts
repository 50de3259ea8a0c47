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

  constructor(video: HTMLVideoElement) {
    this.#video = video;
  }

  get running(): boolean {
    return this.#stream !== undefined;
  }

  /** Resolves once the video has a picture. `onEnded`: the camera was unplugged or taken away. */
  async start(onEnded: () => void, choice: MediaTrackConstraints = { facingMode: 'environment' }): Promise<void> {
    this.stop();
    if (!navigator.mediaDevices) throw new CameraError(isSecureContext ? NONE : INSECURE);
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: { ideal: 640 }, height: { ideal: 480 }, ...choice } });
    } catch (error) {
      const name = error instanceof DOMException ? error.name : '';
      if (name === 'NotAllowedError' || name === 'SecurityError') throw new CameraError(BLOCKED, { cause: error });
      if (name === 'NotFoundError' || name === 'OverconstrainedError') throw new CameraError(NONE, { cause: error });
      throw new CameraError(BUSY, { cause: error });
    }
    this.#stream = stream;
    stream.getVideoTracks()[0]?.addEventListener('ended', onEnded);
    this.#video.srcObject = stream;
    this.#video.classList.toggle('mirrored', this.#settings().facingMode === 'user');
    await this.#video.play();
  }

  stop(): void {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
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
