// The README's picture of the page: node tests/browser/screenshot.mjs [SAMPLE]   (a laptop and a phone side by side)
import { writeFile } from 'node:fs/promises';

import { serve } from '../../scripts/serve.mjs';
import { launch, path, SAMPLES } from './helpers.mjs';

const sample = SAMPLES.indexOf(process.argv[2] ?? SAMPLES[0]);
const server = await serve({ root: path('web/demo/dist') });
const browser = await launch();

async function shot(width, height, colorScheme) {
  const page = await browser.page();
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
  await page.goto(server.url);
  const said = () => page.textContent('#announce');
  await page.waitForFunction(() => document.querySelector('#announce').textContent);
  // Another one first: what is on the page already costs next to nothing, and the picture shows what a caption takes.
  for (const index of [(sample + 1) % SAMPLES.length, sample]) {
    await page.locator('.samples button').nth(index).click();
    await page.waitForTimeout(1500);
  }
  console.log(await said());
  const bytes = await page.screenshot();
  await page.close();
  return `data:image/png;base64,${bytes.toString('base64')}`;
}

const laptop = await shot(1280, 800, 'light');
const phone = await shot(390, 800, 'dark');
const page = await browser.page();
await page.setViewportSize({ width: 1280 + 390 + 72, height: 800 + 48 });
await page.setContent(`<body style="margin:24px;display:flex;gap:24px;background:#cfc8bc">
  <img src="${laptop}" style="border-radius:14px"><img src="${phone}" style="border-radius:26px"></body>`);
await page.waitForTimeout(500);
await writeFile(path('web/screenshot.jpg'), await page.screenshot({ type: 'jpeg', quality: 80 }));
await browser.close();
await server.close();
