// Milliseconds from pixels to caption in node and in Chromium, as the package reports them: medians over
// the bundled sample photos (480 pixels at most), greedy, one thread, both builds where the platform has them.
// usage: npm run build && node bench/frames.mjs [ROUNDS]
import { BitMar } from 'bitmar';

import { serve } from '../scripts/serve.mjs';
import { launch, path, samplePhotos, SAMPLES } from '../tests/browser/helpers.mjs';

const rounds = Number(process.argv[2] ?? 30);

// Runs here and in the page: nothing from outside it.
async function measure(load, build, photos, rounds) {
  const model = await load(build);
  const frames = [];
  for (let round = -2; round < rounds; round++) {
    for (const photo of photos) {
      const start = performance.now();
      const { timings } = await model.caption(photo);
      if (round >= 0) frames.push([timings.visionMs, timings.textMs, performance.now() - start]);
    }
  }
  model.dispose();
  return [0, 1, 2].map((column) => frames.map((frame) => frame[column]).sort((a, b) => a - b)[frames.length >> 1]);
}

const show = (where, build, [vision, text, whole]) =>
  console.log(`${where} ${build}: vision ${vision.toFixed(1)} ms, text ${text.toFixed(1)} ms, call ${whole.toFixed(1)} ms`);

const photos = (await samplePhotos()).map((bytes) => new Blob([bytes]));
show('node', 'simd', await measure((build) => BitMar.load(path('models/default'), { build }), 'simd', photos, rounds));

const server = await serve({ root: path('') });
const browser = await launch();
const page = await browser.page();
await page.goto(`${server.url}tests/browser/blank.html`);
for (const build of ['simd', 'relaxed']) {
  const result = await page.evaluate(
    async ({ source, build, rounds, samples }) => {
      const { BitMar } = await import('bitmar');
      const photos = await Promise.all(
        samples.map(async (name) => createImageBitmap(await (await fetch(`/web/demo/public/samples/${name}.jpg`)).blob())),
      );
      const measure = new Function(`return ${source}`)();
      return measure((chosen) => BitMar.load('/models/default/', { build: chosen }), build, photos, rounds);
    },
    { source: measure.toString(), build, rounds, samples: SAMPLES },
  );
  show('Chromium', build, result);
}
await browser.close();
await server.close();
