// What the memory is worth, through the whole stack in Chromium: how fast it remembers, finds and saves, and whether it names what it
// was taught. Its photos are parts of the bundled samples: crops, mirrored or not, lighter or darker.
// usage: npm run build && node bench/memory.mjs [PHOTOS]
import { serve } from '../scripts/serve.mjs';
import { launch, path, SAMPLES } from '../tests/browser/helpers.mjs';

const count = Number(process.argv[2] ?? 1000);
const server = await serve({ root: path('') });
const browser = await launch();
const page = await browser.page();
page.on('console', (message) => console.log(message.text()));
await page.goto(`${server.url}tests/browser/blank.html`);
await page.evaluate(
  async ({ count, samples }) => {
    const { BitMar } = await import('bitmar');
    const model = await BitMar.load('/models/default/', { threads: 1, memory: { slots: Math.max(64, count) } });
    const { memory } = model;
    await memory.open();
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const photos = await Promise.all(samples.map(async (name) => createImageBitmap(await (await fetch(`/web/demo/public/samples/${name}.jpg`)).blob())));

    let state = 1;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    /** A crop that has at least this share of each side. */
    const view = async (picture, least) => {
      const canvas = new OffscreenCanvas(picture.width, picture.height);
      const context = canvas.getContext('2d');
      const part = least + (1 - least) * random();
      const [w, h] = [picture.width * part, picture.height * part];
      context.filter = `brightness(${0.8 + 0.4 * random()}) contrast(${0.8 + 0.4 * random()})`;
      if (random() < 0.5) context.setTransform(-1, 0, 0, 1, picture.width, 0);
      context.drawImage(picture, (picture.width - w) * random(), (picture.height - h) * random(), w, h, 0, 0, picture.width, picture.height);
      return createImageBitmap(canvas);
    };

    // ---- Search ----
    const writing = [];
    const said = [];
    for (let i = 0; i < count; i += 1) {
      const picture = await view(photos[i % photos.length], 0.2);
      const start = performance.now();
      const { caption } = await memory.write(picture);
      writing.push(performance.now() - start);
      said.push(caption.text);
    }
    const asking = [];
    for (const text of said.filter((text) => text)) {
      const start = performance.now();
      await memory.recall({ text, k: 10 });
      asking.push(performance.now() - start);
    }
    const kept = (await memory.stats()).occupied;
    console.log(`search: ${count} photos in ${kept} episodes`);
    console.log(`  a photo captioned and remembered in ${median(writing).toFixed(1)} ms, a text answered in ${median(asking).toFixed(1)} ms (medians)`);

    // ---- Saving ----
    await memory.flush();
    const { bytes, slots, savedBytes } = await memory.stats();
    console.log(`saving: ${Math.round(bytes / slots)} bytes of heap per slot, ${Math.round(savedBytes / kept)} saved per episode`);
    const { episodes } = await memory.list({ limit: count });
    for (const changes of [1, 10, 100, episodes.length]) {
      const times = [];
      let grown = 0;
      for (let round = 0; round < 5; round += 1) {
        for (const { id } of episodes.slice(0, changes)) await memory.touch(id);
        const before = (await memory.stats()).savedBytes;
        const start = performance.now();
        await memory.flush();
        times.push(performance.now() - start);
        grown = Math.max(grown, (await memory.stats()).savedBytes - before);
      }
      console.log(`  ${changes} changes: flush() in ${median(times).toFixed(1)} ms, ${grown} bytes more`);
    }

    // ---- Names ----
    const VIEWS = 10;
    for (const examples of [1, 3, 5]) {
      await memory.clear();
      for (const [i, photo] of photos.entries()) {
        for (let j = 0; j < examples; j += 1) await memory.teach(await view(photo, 0.75), `object ${i}`);
      }
      let right = 0;
      let wrong = 0;
      for (const [i, photo] of photos.entries()) {
        for (let j = 0; j < VIEWS; j += 1) {
          const { recognised } = await memory.recall({ image: await view(photo, 0.75), k: 1 });
          right += recognised?.label === `object ${i}`;
          wrong += recognised !== null && recognised.label !== `object ${i}`;
        }
      }
      console.log(`names: ${photos.length} photos, ${examples} examples each: ${right} of ${photos.length * VIEWS} unseen views named correctly, ${wrong} wrongly`);
    }
    model.dispose();
  },
  { count, samples: SAMPLES },
);
await browser.close();
await server.close();
