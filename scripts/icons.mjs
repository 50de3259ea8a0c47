// Draws the page's icons for home screens from web/demo/public/icon.svg: node scripts/icons.mjs   (needs Chromium, as the browser tests do)
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const PUBLIC = new URL('../web/demo/public/', import.meta.url);
const PAPER = '#f5f2ec';
// How much of the icon the drawing takes: systems round the corners of an opaque one, and cut a maskable one to a circle of 80 %.
const ICONS = [
  { name: 'icon-192', size: 192, drawing: 1 },
  { name: 'icon-512', size: 512, drawing: 1 },
  { name: 'maskable-512', size: 512, drawing: 0.54, background: PAPER },
  { name: 'apple-touch-icon', size: 180, drawing: 0.66, background: PAPER },
];

const svg = await readFile(new URL('icon.svg', PUBLIC), 'utf8');
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
await mkdir(new URL('icons/', PUBLIC), { recursive: true });
for (const { name, size, drawing, background = 'transparent' } of ICONS) {
  const side = Math.round(size * drawing);
  await page.setViewportSize({ width: size, height: size });
  await page.setContent(`<style>body { margin: 0; height: ${size}px; display: grid; place-items: center; background: ${background} } svg { width: ${side}px; height: ${side}px }</style>${svg}`);
  const file = new URL(`icons/${name}.png`, PUBLIC);
  await writeFile(file, await page.screenshot({ omitBackground: true }));
  console.log(fileURLToPath(file));
}
await browser.close();
