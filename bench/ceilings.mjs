// Our ternary products beside the best that throw-away probes reached with the same instructions, in one run: probes
// and ours take turns, and the medians of all rounds are compared. Unpacking, tables and x's sum are included.
// WebAssembly runs in headless Chromium, in a page with nothing else in it.
// usage: npm run bench -- --benchmark_list_tests && node bench/ceilings.mjs [PROBES] [ROUNDS] [--json FILE] [--only TABLE]
//   PROBES  the folder of wf.cpp and wb.cpp (WebAssembly), nb2.cpp (native) and harness.h; default ../shared/ceilings
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from '../scripts/serve.mjs';
import { launch } from '../tests/browser/helpers.mjs';

const SHAPES = [[128, 128], [256, 256], [512, 512], [1024, 256], [256, 1024], [2048, 2048]];

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2);
const option = (name) => {
  const at = args.indexOf(name);
  return at < 0 ? null : args.splice(at, 2)[1];
};
const jsonFile = option('--json');
const only = option('--only');
const probes = resolve(args[0] ?? `${root}/../shared/ceilings`);
const rounds = Number(args[1] ?? 5);

const out = `${root}/build/ceilings`;
const { EM_CONFIG: _, ...environment } = process.env;  // our own compiler has its configuration beside it
const run = (program, ...rest) =>
  execFileSync(program, rest, { cwd: out, env: environment, encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] });

// ---- Building the probes, for our shapes ----

// What is no ceiling of ours is not even timed: floats, a GEMV whose weights take a byte each, x of seven bits, and
// tables that are there already.
const SKIP = `if (!strncmp(nm,"f32",3) || strstr(nm,"7bit") || strstr(nm,"nobld") || (GEMV && !strncmp(nm,"i8_",3))) return;`;

function compiler() {
  const platform = /include\("(.*)"\)/.exec(readFileSync(`${root}/.cache/emscripten.cmake`, 'utf8'))[1];
  return resolve(dirname(platform), '../../../em++');
}

function build() {
  mkdirSync(out, { recursive: true });
  writeFileSync(`${out}/harness.h`, readFileSync(`${probes}/harness.h`));
  writeFileSync(`${out}/blank.html`, '<!doctype html><title>Kernels</title>');
  const list = SHAPES.map(([rows, cols]) => `{${rows},${cols}}`).join();
  for (const name of ['wf.cpp', 'wb.cpp', 'nb2.cpp']) {
    const source = readFileSync(`${probes}/${name}`, 'utf8');
    const reshaped = source.replace(/int shapes\[4\]\[2\]=\{.*?\}\};/, `int shapes[${SHAPES.length}][2]={${list}};`);
    const fewer = reshaped
      .replace(/auto run=\[&\]\(const char\*nm,.*?\)\{/, `$&${SKIP.replace('GEMV', '1')}`)
      .replace(/auto rg=\[&\]\(const char\*nm,.*?\)\{/, `$&${SKIP.replace('GEMV', '0')}`);
    writeFileSync(`${out}/${name}`, name === 'nb2.cpp' ? reshaped : fewer);
  }
  for (const name of ['wf', 'wb']) {
    const wasm = ['-O3', '-msimd128', `${name}.cpp`, '-sALLOW_MEMORY_GROWTH', '-sENVIRONMENT=web', '-sMODULARIZE', '-sEXPORT_ES6'];
    run(compiler(), ...wasm, '-o', `${name}.mjs`);
    run(compiler(), ...wasm, '-mrelaxed-simd', '-DRELAXED', '-o', `${name}-relaxed.mjs`);
  }
  run('c++', '-O3', '-march=native', 'nb2.cpp', '-o', 'nb2');
}

// ---- Running ----

/** What a program prints that Emscripten made a module of. */
const inPage = (page, module, ...rest) =>
  page.evaluate(
    async ({ module, rest }) => {
      const { default: start } = await import(module);
      const lines = [];
      await start({ arguments: rest, print: (line) => lines.push(line), printErr() {} });
      return lines.join('\n');
    },
    { module: `/build/${module}`, rest },
  );

// `GEMV  256x 256 name  1.9 us  34.1 GMAC/s ok`, `native GEMM 256x 256x64 name ...`; what is wrong does not count.
function probe(text, wanted) {
  const found = new Map();
  for (const [, kind, rows, cols, name, rate] of text.matchAll(/(GEM[VM]) +(\d+)x *(\d+)(?:x64)? +(.+?) +[\d.]+ us +([\d.]+) GMAC\/s ok/g)) {
    if (!wanted(name)) continue;
    const key = `${kind} ${rows}x${cols}`;
    if (!(found.get(key)?.rate >= Number(rate))) found.set(key, { rate: Number(rate), name });
  }
  return found;
}

// Best of three, as the probes are timed.
async function ours(start, table) {
  const filter = `--benchmark_filter=^(ternary_gemm/${table}/(1|64)x|quantize_row/${table}/)`;
  const text = await start(filter, '--benchmark_format=json', '--benchmark_repetitions=3', '--benchmark_min_time=0.06');
  const found = new Map();
  // A rate can be Infinity, by a page's processor time that is 0; we take the time on the wall.
  for (const b of JSON.parse(text.slice(text.indexOf('{')).replaceAll(': Infinity', ': 0')).benchmarks) {
    if (b.run_type !== 'iteration') continue;
    const [kind, , shape] = b.name.split('/');
    const [m, rows, cols] = shape.split('x');
    const key = kind === 'quantize_row' ? `quantise ${m}` : `${m === '1' ? 'GEMV' : 'GEMM'} ${rows}x${cols}`;
    const value = kind === 'quantize_row' ? -b.real_time : (m * rows * cols) / b.real_time;  // per ns, by the clock on the wall, as the probes are
    if (!(found.get(key) >= value)) found.set(key, value);
  }
  return found;
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

build();
const server = await serve({ root });
const browser = await launch('--js-flags=--no-liftoff');  // a probe is not run long enough to be sure of V8's better compiler
const page = await browser.page();
await page.goto(`${server.url}build/ceilings/blank.html`);

const wasm = (table, preset, suffix) => ({
  table,
  probe: async () => [await inPage(page, `ceilings/wf${suffix}.mjs`), await inPage(page, `ceilings/wb${suffix}.mjs`)].join('\n'),
  ours: (...rest) => inPage(page, `${preset}/bench/bitmar_kernels_bench.mjs`, ...rest),
});
const native = (table, wanted) => ({ table, wanted, probe: () => run('./nb2'), ours: (...rest) => run(`${root}/build/native-release/bench/bitmar_bench`, ...rest) });
const targets = [
  wasm('simd128', 'wasm-simd', ''),
  wasm('relaxed_dot', 'wasm-relaxed', '-relaxed'),
  native('avx2', (name) => name.includes('avx2')),
  native('avx512_vnni'),
].filter(({ table }) => !only || table === only);
const samples = targets.map(() => []);
for (let round = 0; round < rounds; ++round) {
  for (const [i, t] of targets.entries()) {
    samples[i].push({ probe: probe(await t.probe(), t.wanted ?? (() => true)), ours: await ours(t.ours, t.table) });
  }
}
await browser.close();
await server.close();

const results = [];
targets.forEach(({ table }, i) => {
  console.log(`\n${table.padEnd(16)}      ours  best probe  GMAC/s        ratio   quantising x`);
  for (const kind of ['GEMV', 'GEMM']) {
    for (const [rows, cols] of SHAPES) {
      const key = `${kind} ${rows}x${cols}`;
      const rate = median(samples[i].map((s) => s.ours.get(key)));
      const best = samples[i].map((s) => s.probe.get(key)).filter(Boolean);
      const ceiling = best.length ? median(best.map((b) => b.rate)) : null;
      const quantising = (-median(samples[i].map((s) => s.ours.get(`quantise ${cols}`))) * rate) / (rows * cols);
      results.push({ table, kind, rows, cols, gmacs: rate, probe: best[0]?.name ?? null, probe_gmacs: ceiling, ratio: ceiling && rate / ceiling, quantising });
      console.log(`${key.padEnd(16)} ${rate.toFixed(1).padStart(9)} ${ceiling?.toFixed(1).padStart(9) ?? '        -'}  ${(best[0]?.name ?? '').padEnd(16)} ` +
        `${ceiling ? (rate / ceiling).toFixed(2).padStart(6) : '     -'}   +${(100 * quantising).toFixed(0)} %`);
    }
  }
});
if (jsonFile) writeFileSync(jsonFile, JSON.stringify({ rounds, results }, null, 1));
