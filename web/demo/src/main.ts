// Puts the parts of the page together.

import type { BitMar } from 'bitmar';
import './style.css';
import { CameraControls } from './camera-controls.js';
import { Camera, type CameraState } from './camera.js';
import { CaptionLine } from './caption-line.js';
import { CaptionTools, copy } from './caption-tools.js';
import { Captions } from './captions.js';
import { Diary } from './diary.js';
import { download, element, today } from './dom.js';
import { Engine } from './engine.js';
import { offerFullScreen } from './full-screen.js';
import { Gallery } from './gallery.js';
import { How } from './how.js';
import { Live } from './live.js';
import { limitName } from './name-field.js';
import { keepForOffline, watchVersions } from './offline.js';
import { ownPhoto, samplePhoto, type Photo } from './photo.js';
import { onPhotos } from './photos.js';
import { Questions } from './questions.js';
import { markSample, showSamples } from './samples.js';
import { Showing } from './showing.js';
import { text } from './text.js';
import * as view from './view.js';

const engine = new Engine(opened, lost);
const line = new CaptionLine();
const captions = new Captions(engine);
const showing = new Showing(engine, captions, line);
const camera = new Camera(element<HTMLVideoElement>('video'), cameraEntered);
const controls = new CameraControls(camera, () => engine.model !== undefined);
const live = new Live(engine, camera, showing, line);
const gallery = new Gallery(captions, show, engine.failed);
const questions = new Questions((question, signal) => showing.source && engine.model?.ask(showing.source, question, { signal }), engine.failed);
const how = new How(engine);
const tools = new CaptionTools(() => showing.picture());
let diary: Diary | undefined;

// ---- The model ----

async function opened(model: BitMar): Promise<void> {
  view.showModel(model.info);
  view.enableControls();
  questions.open(model.info.canAsk);
  diary = new Diary(model.memory, engine.failed);
  await diary.open().catch(engine.failed);
  await showing.showPhoto();
  gallery.work();
  await keepForOffline(model.info.build).catch(() => {}); // without it the page works, online
}

function lost(): void {
  camera.stop();
  diary?.close();
}

// ---- What is shown ----

/** That photo, and no camera behind it. On a phone the choices are below the stage. */
function show(photo: Photo): void {
  view.notice('');
  if (engine.model) element('stage').scrollIntoView({ block: 'nearest' });
  showing.put(photo);
  if (camera.state.is === 'off') void showing.showPhoto();
  else camera.stop();
}

function take(files: readonly File[]): void {
  if (!engine.model) return;
  const photos = files.map((file) => ownPhoto(file, text('ownPhoto')));
  gallery.add(photos);
  show(photos[0]!);
}

function cameraEntered(state: CameraState, before: CameraState): void {
  view.showCamera(state);
  controls.show(state);
  live.enter(state);
  if (state.is === 'starting') {
    view.notice('');
    showing.pause();
  } else if (state.is === 'off') {
    if (state.reason) view.notice(text(state.reason));
    void showing.showPhoto();
  } else if (before.is !== 'live') {
    showing.showLive();
  }
}

captions.onDone = (photo) => {
  gallery.draw(photo);
  if (photo.unreadable) view.notice(text('notReadable', { name: photo.name }));
};

live.onKept = (photo, now) => {
  gallery.add([photo]);
  if (now) show(photo);
};

showing.onChange = (photo) => {
  questions.forget();
  live.shown(photo);
  markSample(photo && !photo.own ? photo.url : undefined);
  gallery.mark(photo?.own ? photo : undefined);
};

showing.onCaption = (caption, source) => how.show(caption, source);
showing.onMatches = (matches) => how.remind(matches);

line.onSaid = (said) => tools.show(said);

// ---- Memory ----

async function teach(): Promise<void> {
  const input = element<HTMLInputElement>('teach-name');
  const name = input.value.trim();
  const { source } = showing;
  if (!name || !source || !engine.model) return input.focus();
  try {
    await engine.model.memory.teach(source, name, { thumbnail: true });
    input.value = '';
    await showing.recall();
  } catch (error) {
    engine.failed(error);
  }
}

// ---- Begin ----

watchVersions();
const first = showSamples(({ url, alt }) => show(samplePhoto(url, alt)));
showing.put(samplePhoto(first.url, first.alt));
view.showPhoto({ ...first, mirrored: false });
onPhotos(take);
offerFullScreen();
element('teach').addEventListener('click', () => void teach());
limitName(element('teach-name'));
element('teach-name').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') void teach();
});
element('save-picture').addEventListener('click', () => {
  showing.picture().then((file) => file && download(file, `bitmar-${today()}.jpg`), engine.failed);
});
element('gallery-copy').addEventListener('click', () => void copy(gallery.text));
element('gallery-clear').addEventListener('click', () => {
  if (showing.photo?.own) showing.put(samplePhoto(first.url, first.alt));
  if (!view.isLive()) void showing.showPhoto();
  gallery.clear();
});
void engine.load();
