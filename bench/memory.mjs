// What the memory is worth, through the whole stack in Chromium: search by text over remembered photos, names that are
// taught, and what saving costs. Needs the validation photos of ../shared/data.
// usage: npm run build && node bench/memory.mjs [PHOTOS]
import { serve } from '../scripts/serve.mjs';
import { captionedPhotos, launch, path } from '../tests/browser/helpers.mjs';

const count = Number(process.argv[2] ?? 1000);
const photos = await captionedPhotos(count);
if (photos.length < count) throw new Error(`there are ${photos.length} photos, not ${count}: ../shared/data is missing`);

const server = await serve({ root: path('') });
const browser = await launch();
const page = await browser.page();
page.on('console', (message) => console.log(message.text()));
await page.exposeFunction('photo', (i) => photos[i].photo.toString('base64'));
await page.goto(`${server.url}tests/browser/blank.html`);
await page.evaluate(
  async ({ count, captions }) => {
    const { BitMar } = await import('bitmar');
    const model = await BitMar.load('/models/default/', { threads: 1, memory: { slots: Math.max(64, count) } });
    const { memory } = model;
    await memory.open();
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const bitmap = async (i) => createImageBitmap(await (await fetch(`data:image/jpeg;base64,${await photo(i)}`)).blob());

    // ---- Search ----
    const owner = [];
    const writing = [];
    for (let i = 0; i < count; i += 1) {
      const picture = await bitmap(i);
      const start = performance.now();
      owner.push((await memory.write(picture)).id);
      writing.push(performance.now() - start);
    }
    const asking = [];
    let found = 0;
    for (let i = 0; i < count; i += 1) {
      for (const text of captions[i]) {
        const start = performance.now();
        const { matches } = await memory.recall({ text, k: 10 });
        asking.push(performance.now() - start);
        found += matches.some(({ id }) => id === owner[i]);
      }
    }
    const kept = (await memory.stats()).occupied;
    console.log(`search: ${count} photos in ${kept} episodes; recall@10 ${(found / asking.length).toFixed(4)} of ${asking.length} captions`);
    console.log(`  a photo captioned and remembered in ${median(writing).toFixed(1)} ms, a text answered in ${median(asking).toFixed(1)} ms (medians)`);

    // ---- Saving ----
    await memory.flush();
    const { bytes, slots, savedBytes } = await memory.stats();
    console.log(`saving: ${Math.round(bytes / slots)} bytes of memory a slot, ${Math.round(savedBytes / kept)} saved an episode`);
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
    // A view: another crop, mirrored or not, lighter or darker.
    let state = 1;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    const view = async (picture) => {
      const canvas = new OffscreenCanvas(picture.width, picture.height);
      const context = canvas.getContext('2d');
      const part = 0.75 + 0.25 * random();
      const [w, h] = [picture.width * part, picture.height * part];
      context.filter = `brightness(${0.8 + 0.4 * random()}) contrast(${0.8 + 0.4 * random()})`;
      if (random() < 0.5) context.setTransform(-1, 0, 0, 1, picture.width, 0);
      context.drawImage(picture, (picture.width - w) * random(), (picture.height - h) * random(), w, h, 0, 0, picture.width, picture.height);
      return createImageBitmap(canvas);
    };
    const [OBJECTS, VIEWS, STRANGERS] = [20, 10, Math.min(200, count - 20)];
    for (const examples of [1, 3, 5]) {
      await memory.clear();
      for (let i = 0; i < OBJECTS; i += 1) {
        const picture = await bitmap(i);
        for (let j = 0; j < examples; j += 1) await memory.teach(await view(picture), `object ${i}`);
      }
      let right = 0;
      let wrong = 0;
      for (let i = 0; i < OBJECTS; i += 1) {
        const picture = await bitmap(i);
        for (let j = 0; j < VIEWS; j += 1) {
          const { recognised } = await memory.recall({ image: await view(picture), k: 1 });
          right += recognised?.label === `object ${i}`;
          wrong += recognised !== null && recognised.label !== `object ${i}`;
        }
      }
      let said = 0;
      for (let i = 0; i < STRANGERS; i += 1) said += (await memory.recall({ image: await bitmap(count - 1 - i), k: 1 })).recognised !== null;
      const of = OBJECTS * VIEWS;
      console.log(`names: ${OBJECTS} objects, ${examples} examples each: ${right} of ${of} unseen views named rightly, ${wrong} wrongly; ${said} of ${STRANGERS} other photos named`);
    }
    model.dispose();
  },
  { count, captions: photos.map(({ captions }) => captions) },
);
await browser.close();
await server.close();
