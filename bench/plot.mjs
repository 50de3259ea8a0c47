// bench/results/peers.json -> bench/peers.svg: BitMar beside other runtimes.
// usage: node bench/plot.mjs
import { readFileSync, writeFileSync } from 'node:fs';

const here = (name) => new URL(name, import.meta.url);

const OURS = '#1a7f5a';
const PEER = '#9aa5b1';
const INK = '#1f2933';
const FAINT = '#616e7c';
const WIDTH = 900;
const LABEL = 285; // what a bar is called, left of it
const FIGURES = 200; // and what it is worth, right of it
const BAR = 15;
const ROW = 21;

const escaped = (text) => String(text).replace(/[<>&]/g, (c) => ({ '<': '&lt;', '>': '&gt;', '&': '&amp;' })[c]);
const text = (x, y, content, attributes = '') => `<text x="${x}" y="${y}" ${attributes}>${escaped(content)}</text>`;
const digits = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

/** bars: [{ label, value, figure, ours }]. Returns the panel's drawing and height. */
function panel(title, bars, top) {
  const longest = Math.max(...bars.map(({ value }) => value));
  const scale = (value) => ((WIDTH - LABEL - FIGURES) * value) / longest;
  const lines = [text(0, top + 16, title, `font-weight="600" fill="${INK}"`)];
  bars.forEach(({ label, value, figure, ours }, i) => {
    const y = top + 28 + i * ROW;
    lines.push(text(LABEL - 10, y + 12, label, `text-anchor="end" fill="${INK}"`));
    const width = Math.max(1, scale(value)).toFixed(1);
    lines.push(`<rect x="${LABEL}" y="${y}" width="${width}" height="${BAR}" rx="2" fill="${ours ? OURS : PEER}"/>`);
    lines.push(text((LABEL + scale(value) + 8).toFixed(1), y + 12, figure, `fill="${FAINT}"`));
  });
  return { lines, height: 28 + bars.length * ROW };
}

const panels = [];
const peers = JSON.parse(readFileSync(here('results/peers.json')));
for (const { title, unit, better, threads, entries } of peers.groups) {
  const bars = entries.map(({ runtime, variant, median, ratio, ours }) => {
    const times = ours ? '' : `; ours is ${ratio.toFixed(1)} x`;
    return { label: `${runtime}, ${variant}`, value: median, figure: `${digits(median)} ${unit}${times}`, ours: runtime === 'BitMar' };
  });
  const count = threads === 1 ? 'one thread' : `${threads} threads`;
  panels.push([`${title}, ${count}: ${unit}, ${better} is better`, bars]);
}
if (peers.sizes) {
  const bars = peers.sizes.map(({ name, wasm, js }) => {
    const bytes = wasm + js;
    return { label: name, value: bytes, figure: `${(bytes / 1e3).toFixed(0)} KB`, ours: name.startsWith('BitMar') };
  });
  panels.push(['download before any model: WebAssembly and scripts, gzip', bars]);
}

let top = 0;
const drawn = [];
for (const [title, bars] of panels) {
  const { lines, height } = panel(title, bars, top);
  drawn.push(...lines);
  top += height + 22;
}
const { chromium, machine, date, rounds } = peers;
const note = `Chromium ${chromium}, ${machine}, ${date}; medians of ${rounds} interleaved rounds`;
drawn.push(text(0, top + 12, note, `fill="${FAINT}"`));
const box = `-16 -8 ${WIDTH + 32} ${top + 32}`;
const style = 'font-family="system-ui, sans-serif" font-size="13"';
const svg = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${box}" width="${WIDTH + 32}" height="${top + 32}" ${style}>`,
  `<rect x="-16" y="-8" width="100%" height="100%" fill="#fff"/>`,
  ...drawn,
  '</svg>',
];
writeFileSync(here('peers.svg'), `${svg.join('\n')}\n`);
