import { BitMar, BitMarError, type Source, type Watch, type Written } from 'bitmar';
import './style.css';
import { ago } from './ago.js';
import { Camera, CameraError } from './camera.js';
import { Diary } from './diary.js';
import { element } from './dom.js';
import { limitName } from './name-field.js';
import { keepForOffline, watchVersions } from './offline.js';
import { onPhoto } from './photos.js';
import { Questions } from './questions.js';
import { markSample, showSamples, type Sample } from './samples.js';
import * as view from './view.js';

/** Captions come faster than anyone reads: on a live picture one starts at most this often. */
const LIVE_INTERVAL_MS = 600;
// A better caption for a few milliseconds: see docs/performance.md.
const NUM_BEAMS = 8;

/** That something was seen before is said only of what is older than this. */
const LONG_AGO_MS = 60_000;
/** A model that stops again within this time is not started again without being asked for. */
const LEAST_UPTIME_MS = 20_000;

const video = element<HTMLVideoElement>('video');
const camera = new Camera(video);
const line = new view.CaptionLine();
let model: BitMar | undefined; // none while it is loaded, or loaded again
let diary: Diary | undefined;
let restartedAt = -Infinity;
let watching: Watch | undefined;
let captioning: AbortController | undefined; // the photo being captioned
let photoUrl: string | undefined; // an object URL to free
let shown: Source | undefined; // what a name would be given to
let recalling = 0; // the newest recollection wins
const remember = element<HTMLInputElement>('remember');
// Of a live picture the frame of that moment is asked about.
const questions = new Questions((question, signal) => shown && model?.ask(shown, question, { signal }), failed);

async function load(): Promise<void> {
  view.notice('');
  view.showLoading(true);
  try {
    model = await BitMar.load(import.meta.env.MODEL_FOLDER, { onProgress: view.showProgress });
  } catch (error) {
    view.showLoading(false);
    if (error instanceof BitMarError && error.code === 'unsupported_platform') {
      return view.notice('This browser cannot run the model: it lacks WebAssembly SIMD. Any browser from 2023 or later has it.');
    }
    return view.notice(`The model could not be loaded. ${messageOf(error)}`, () => void load());
  }
  view.showLoading(false);
  view.showModel(model.info);
  view.enableControls();
  const { build, canAsk } = model.info;
  questions.open(canAsk);
  diary = new Diary(model.memory, failed);
  await diary.open().catch(failed);
  await captionShown();
  await keepForOffline(build).catch(() => {}); // without it the page works, online
}

// ---- Photos ----

/** `own`: a photo of the visitor's, which may be remembered. */
async function caption(source: Source, own: boolean): Promise<void> {
  if (!model) return;
  captioning?.abort();
  const { signal } = (captioning = new AbortController());
  line.restart();
  show(source);
  try {
    const writeMemory = own && remember.checked;
    const result = await model.caption(source, { signal, numBeams: NUM_BEAMS, writeMemory, thumbnail: true, onToken: (piece) => line.add(piece) });
    line.finish(result.text, result.confidence);
    view.showTimings(result.timings);
    void recall(source, result.episode); // after it: the picture is encoded then, and the time shown is a caption's
  } catch (error) {
    if (error instanceof BitMarError && error.code === 'aborted') return;
    line.clear();
    failed(error);
  }
}

/** What a name is given to, and what questions are about, from now on. */
function show(source: Source): void {
  shown = source;
  questions.forget();
}

/** The photo on the stage: the first one, or the one from before the camera. */
async function captionShown(): Promise<void> {
  const photo = element<HTMLImageElement>('photo');
  markSample(photo.getAttribute('src') ?? undefined);
  await photo.decode().catch(() => {}); // if it cannot be, the caption says so
  await caption(photo, photoUrl !== undefined);
}

async function takeSample(sample: Sample): Promise<void> {
  beginPhoto(sample.url, sample.alt);
  await captionShown();
}

async function takeFile(file: File): Promise<void> {
  if (!model) return;
  const url = URL.createObjectURL(file);
  beginPhoto(url, 'Your photo');
  photoUrl = url;
  await caption(file, true);
}

function beginPhoto(url: string, alt: string): void {
  stopCamera();
  view.notice('');
  if (photoUrl) URL.revokeObjectURL(photoUrl);
  photoUrl = undefined;
  markSample(undefined);
  view.showPhoto(url, alt);
  show(element<HTMLImageElement>('photo'));
}

// ---- Camera ----

async function startCamera(choice?: MediaTrackConstraints): Promise<void> {
  if (!model) return;
  view.notice('');
  captioning?.abort();
  watching?.stop();
  try {
    const started = await camera.start(() => {
      stopCamera();
      view.notice('The camera is gone. Photos work all the same.');
    }, choice);
    if (!started) return;
    if (!model) return stopCamera();
  } catch (error) {
    stopCamera();
    return view.notice(error instanceof CameraError ? error.message : messageOf(error));
  }
  markSample(undefined);
  view.showStage('video');
  line.clear();
  show(video);
  view.showRecalled('');
  void camera.other().then((other) => (element('flip').hidden = !other || !camera.running));
  watching = model.watch(video, {
    interval: LIVE_INTERVAL_MS,
    numBeams: NUM_BEAMS,
    writeMemory: remember.checked,
    thumbnail: true,
    onCaption: ({ text, confidence, timings, episode }) => {
      void recall(video, episode);
      line.finish(text, confidence);
      view.showTimings(timings);
    },
    onToken: (piece) => line.add(piece),
    onError: failed,
  });
}

// ---- Memory ----

/** Says what the picture is called, or, once it is remembered as `episode`, when the same was seen before. */
async function recall(source: Source, episode?: Written): Promise<void> {
  const turn = (recalling += 1);
  try {
    const { matches, recognised } = await model!.memory.recall({ image: source, k: 1 });
    if (turn !== recalling || source !== shown) return;
    const known = episode?.outcome === 'blended' ? matches.find(({ id }) => id === episode.id) : undefined;
    const again = known && Date.now() - known.createdMs > LONG_AGO_MS;
    view.showRecalled(recognised ? `This is ${recognised.label}` : again ? `Seen before, ${ago(known.createdMs)}` : '');
  } catch {
    view.showRecalled(''); // what is wrong with the picture, its caption says
  }
}

async function teach(): Promise<void> {
  const input = element<HTMLInputElement>('teach-name');
  const name = input.value.trim();
  if (!name || !shown || !model) return input.focus();
  try {
    await model.memory.teach(shown, name, { thumbnail: true });
    input.value = '';
    await recall(shown);
  } catch (error) {
    failed(error);
  }
}

function stopCamera(): void {
  watching?.stop();
  watching = undefined;
  if (view.isLive()) line.clear();
  camera.stop();
  view.showStage('photo');
  if (shown === video) show(element<HTMLImageElement>('photo'));
}

async function flipCamera(): Promise<void> {
  const choice = await camera.other();
  if (choice) await startCamera(choice);
}

/** A lost worker (a phone that ran short of memory, say) is started again; anything else is said. */
function failed(error: unknown): void {
  if (error instanceof BitMarError && error.code === 'disposed') return; // of a model that was lost
  if (error instanceof BitMarError && error.code === 'worker_failed') {
    restart();
  } else if (error instanceof BitMarError && /image/.test(error.code)) {
    view.notice(`That is not a picture that can be read here. (${error.message})`);
  } else {
    view.notice(messageOf(error));
  }
}

/** Once, however many calls have failed; and not over and over by itself. */
function restart(): void {
  if (!model) return;
  stopCamera();
  diary?.close();
  model.dispose();
  model = undefined;
  const again = performance.now() - restartedAt < LEAST_UPTIME_MS;
  restartedAt = performance.now();
  if (again) view.notice('The model stopped again.', () => void load());
  else void load();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function start(): Promise<void> {
  watchVersions();
  const first = showSamples((sample) => void takeSample(sample));
  view.showPhoto(first.url, first.alt);
  onPhoto((file) => void takeFile(file));
  element('camera').addEventListener('click', () => void (view.isLive() ? backToPhoto() : startCamera()));
  element('teach').addEventListener('click', () => void teach());
  limitName(element('teach-name'));
  element('teach-name').addEventListener('keydown', (event) => {
    if (event.key === 'Enter') void teach();
  });
  remember.addEventListener('change', () => {
    if (view.isLive()) void startCamera();
  });
  element('flip').addEventListener('click', () => void flipCamera());
  await load();
}

function backToPhoto(): void {
  stopCamera();
  void captionShown();
}

void start();
