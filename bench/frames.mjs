// Milliseconds from pixels to caption, greedy or by BEAMS, every build that the platform has, two threads where the build has threads:
//   the bundled sample photos (480 pixels at most) over and over, in node and in Chromium, as the package reports them;
//   in Chromium the first caption of a JPEG file after the model is loaded, in a page that has captioned nothing before;
//   and a webcam's frames as they come: the sample photos as a film of 30 frames a second, another photo each;
//   and, as a stand-in for a phone, the sample photos in a page whose thread Chromium slows down to a quarter, with the heap that it takes.
// usage: npm run build && node bench/frames.mjs [ROUNDS] [simd|relaxed|relaxed-threads|all] [BEAMS]
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { BitMar } from 'bitmar';

import { serve } from '../scripts/serve.mjs';
import { film, launch, path, samplePhotos, SAMPLES, webcam } from '../tests/browser/helpers.mjs';

const SECONDS_A_PHOTO = 1 / 30; // each frame is another photo: what is seen again is not computed again

/** The value that a share of the values is not above. */
export const percentile = (values, share) => values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(values.length * share) - 1)];
const spread = (values) => ({ p50: percentile(values, 0.5), p95: percentile(values, 0.95), count: values.length });

/** A table of numbers -> the spread of each of its named columns. */
const columns = (names, rows) => Object.fromEntries(names.map((name, column) => [name, spread(rows.map((row) => row[column]))]));

// ---- These three run in a page (the first also here): nothing from outside them ----

async function photos(model, pictures, rounds, numBeams) {
  const rows = [];
  for (let round = -2; round < rounds; round++) {
    for (const picture of pictures) {
      const start = performance.now();
      const { timings } = await model.caption(picture, { numBeams });
      if (round >= 0) rows.push([timings.visionMs, timings.textMs, performance.now() - start]);
    }
  }
  return rows;
}

async function firstPhoto({ build, sample, numBeams }) {
  const { BitMar } = await import('bitmar');
  const photo = await (await fetch(`/web/demo/public/samples/${sample}.jpg`)).blob();
  const model = await BitMar.load('/models/default/', { build });
  const start = performance.now();
  const { timings } = await model.caption(photo, { numBeams });
  const row = [timings.visionMs, timings.textMs, performance.now() - start];
  model.dispose();
  return row;
}

async function webcamFrames({ build, count, numBeams }) {
  const { BitMar } = await import('bitmar');
  const model = await BitMar.load('/models/default/', { build });
  const video = Object.assign(document.createElement('video'), { muted: true });
  document.body.append(video);
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
  await video.play();
  const rows = [];
  await new Promise((resolve, reject) => {
    let last;
    const watch = model.watch(video, {
      numBeams,
      onError: reject,
      onCaption({ timings }) {
        const now = performance.now();
        if (last !== undefined) rows.push([timings.visionMs, timings.textMs, timings.totalMs, now - last]);
        last = now;
        if (rows.length < count) return;
        watch.stop();
        resolve();
      },
    });
  });
  model.dispose();
  for (const track of video.srcObject.getTracks()) track.stop();
  return rows.slice(Math.min(20, rows.length >> 1)); // the first frames are not steady ones yet
}

// ---- Here ----

const SLOWER = 4; // than this machine

/** photos() in a page, whose `model` it leaves. */
function samplesIn(page, { build, rounds, numBeams, worker }) {
  return page.evaluate(
    async ({ source, build, rounds, samples, numBeams, worker }) => {
      const { BitMar } = await import('bitmar');
      const pictures = await Promise.all(
        samples.map(async (name) => createImageBitmap(await (await fetch(`/web/demo/public/samples/${name}.jpg`)).blob())),
      );
      const measure = new Function(`return ${source}`)();
      globalThis.model = await BitMar.load('/models/default/', { build, worker });
      return measure(globalThis.model, pictures, rounds, numBeams);
    },
    { source: photos.toString(), build, rounds, samples: SAMPLES, numBeams, worker },
  );
}

/** Computed in the page's own thread, which alone is slowed down: that of a worker is not. */
async function phone(page, blank, task) {
  const session = await page.context().newCDPSession(page);
  await page.goto(blank);
  await session.send('Emulation.setCPUThrottlingRate', { rate: SLOWER });
  const rows = await samplesIn(page, { ...task, worker: false });
  const engineBytes = await page.evaluate(() => Object.values(globalThis.model.info.bytes).reduce((sum, bytes) => sum + bytes)); // it is still there
  await session.send('HeapProfiler.enable');
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize, backingStorageSize = 0 } = await session.send('Runtime.getHeapUsage');
  return { rows, heap: { script: usedSize, buffers: backingStorageSize, engine: engineBytes } };
}

const show = (what, columns) => {
  const figures = Object.entries(columns).map(([name, { p50, p95 }]) => `${name} ${p50.toFixed(1)} / ${p95.toFixed(1)}`);
  console.log(`${what}: ${figures.join(', ')} ms (p50 / p95 of ${Object.values(columns)[0].count})`);
};

/** Measures and prints all; returns { [where]: { [column]: { p50, p95, count } } }. */
export async function frames({ rounds, builds = ['simd', 'relaxed', 'relaxed-threads'], numBeams = 1 }) {
  const results = {};
  const report = (what, result) => show(what, (results[what] = result));
  const stages = ['vision', 'text', 'call'];
  const files = await samplePhotos();

  if (builds.includes('simd')) {
    const model = await BitMar.load(path('models/default'), { build: 'simd' });
    report('node simd, photos', columns(stages, await photos(model, files.map((bytes) => new Blob([bytes])), rounds, numBeams)));
    model.dispose();
  }
  const server = await serve({ root: path('') });
  const blank = `${server.url}tests/browser/blank.html`;
  try {
    let browser = await launch();
    let page = await browser.page();
    await page.goto(blank);
    const reel = await film(page, files, SECONDS_A_PHOTO);
    for (const build of builds) {
      const rows = await samplesIn(page, { build, rounds, numBeams });
      await page.evaluate(() => globalThis.model.dispose());
      report(`Chromium ${build}, photos`, columns(stages, rows));
    }
    for (const build of builds) {
      const rows = [];
      for (let round = 0; round < rounds; round += 1) {
        const fresh = await browser.page();
        await fresh.goto(blank);
        rows.push(await fresh.evaluate(firstPhoto, { build, sample: SAMPLES[round % SAMPLES.length], numBeams }));
        await fresh.close();
      }
      report(`Chromium ${build}, first photo`, columns(stages, rows));
    }
    for (const build of builds.filter((name) => !name.endsWith('threads'))) {
      const what = `Chromium ${build}, in a page slowed down ${SLOWER} times, photos`;
      const { rows, heap } = await phone(await browser.page(), blank, { build, rounds: Math.min(rounds, 5), numBeams });
      report(what, columns(stages, rows));
      const megabytes = Object.entries(heap).map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(1)}`);
      console.log(`${what}: heap ${megabytes.join(', ')} MB`);
    }
    await browser.close();
    browser = await launch(...webcam(reel));
    page = await browser.page();
    await page.goto(blank);
    for (const build of builds) {
      const rows = await page.evaluate(webcamFrames, { build, count: 20 + 20 * rounds, numBeams });
      report(`Chromium ${build}, webcam`, columns([...stages, 'from caption to caption'], rows));
    }
    await browser.close();
  } finally {
    await server.close();
  }
  return results;
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [rounds = 30, build = 'all', beams = 1] = process.argv.slice(2);
  await frames({ rounds: Number(rounds), builds: build === 'all' ? undefined : [build], numBeams: Number(beams) });
}
