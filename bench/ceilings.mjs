// Our ternary products beside the best that throw-away probes reached with the same instructions, in one run: probes
// and ours take turns, and the medians of all rounds are compared. Unpacking, tables and x's sum are included.
// usage: npm run bench -- --benchmark_list_tests && node bench/ceilings.mjs [PROBES] [ROUNDS] [--json FILE]
//   PROBES  the folder of wf.cpp (WebAssembly), nb2.cpp (native) and harness.h; default ../shared/ceilings
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const SHAPES = [[128, 128], [256, 256], [512, 512], [1024, 256], [256, 1024], [2048, 2048]];
const RELAXED_FLAG = '--experimental-wasm-relaxed-simd';  // node 20 wants it, later ones do not know it

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2);
const jsonAt = args.indexOf('--json');
const jsonFile = jsonAt < 0 ? null : args.splice(jsonAt, 2)[1];
const probes = resolve(args[0] ?? `${root}/../shared/ceilings`);
const rounds = Number(args[1] ?? 5);

const out = `${root}/build/ceilings`;
const { EM_CONFIG: _, ...environment } = process.env;  // our own compiler has its configuration beside it
const run = (program, ...rest) =>
  execFileSync(program, rest, { cwd: out, env: environment, encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] });
const nodeFlags = (() => {
  try {
    execFileSync('node', [RELAXED_FLAG, '-e', '0'], { stdio: 'ignore' });
    return [RELAXED_FLAG];
  } catch {
    return [];
  }
})();

// ---- Building the probes, for our shapes ----

function compiler() {
  const platform = /include\("(.*)"\)/.exec(readFileSync(`${root}/.cache/emscripten.cmake`, 'utf8'))[1];
  return resolve(dirname(platform), '../../../em++');
}

function build() {
  mkdirSync(out, { recursive: true });
  writeFileSync(`${out}/harness.h`, readFileSync(`${probes}/harness.h`));
  const list = SHAPES.map(([rows, cols]) => `{${rows},${cols}}`).join();
  for (const name of ['wf.cpp', 'nb2.cpp']) {
    const source = readFileSync(`${probes}/${name}`, 'utf8');
    writeFileSync(`${out}/${name}`, source.replace(/int shapes\[4\]\[2\]=\{.*?\}\};/, `int shapes[${SHAPES.length}][2]={${list}};`));
  }
  const wasm = ['-O3', '-msimd128', 'wf.cpp', '-sALLOW_MEMORY_GROWTH', '-sENVIRONMENT=node'];
  run(compiler(), ...wasm, '-o', 'wf.js');
  run(compiler(), ...wasm, '-mrelaxed-simd', '-DRELAXED', '-o', 'wf-relaxed.js');
  run('c++', '-O3', '-march=native', 'nb2.cpp', '-o', 'nb2');
}

// ---- Running ----

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
function ours(command, table) {
  const filter = `--benchmark_filter=^(ternary_gemm/${table}/(1|64)x|quantize_row/${table}/)`;
  const text = run(...command, filter, '--benchmark_format=json', '--benchmark_repetitions=3', '--benchmark_min_time=0.06');
  const found = new Map();
  for (const b of JSON.parse(text).benchmarks) {
    if (b.run_type !== 'iteration') continue;
    const [kind, , shape] = b.name.split('/');
    const [m, rows, cols] = shape.split('x');
    const key = kind === 'quantize_row' ? `quantise ${m}` : `${m === '1' ? 'GEMV' : 'GEMM'} ${rows}x${cols}`;
    const value = kind === 'quantize_row' ? -b.real_time : (m * rows * cols) / b.real_time;  // per ns, by the clock on the wall, as the probes are
    if (!(found.get(key) >= value)) found.set(key, value);
  }
  return found;
}

const bench = (preset) => `${root}/build/${preset}/bench/bitmar_bench`;
const targets = [
  { table: 'simd128', probe: ['node', 'wf.js'], ours: ['node', `${bench('wasm-simd')}.js`] },
  { table: 'relaxed_simd', probe: ['node', ...nodeFlags, 'wf-relaxed.js'], ours: ['node', ...nodeFlags, `${bench('wasm-relaxed')}.js`] },
  { table: 'avx2', probe: ['./nb2'], ours: [bench('native-release')], wanted: (name) => name.includes('avx2') },
  { table: 'avx512_vnni', probe: ['./nb2'], ours: [bench('native-release')] },
];
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

build();
const samples = targets.map(() => []);
for (let round = 0; round < rounds; ++round) {
  targets.forEach((t, i) => samples[i].push({ probe: probe(run(...t.probe), t.wanted ?? (() => true)), ours: ours(t.ours, t.table) }));
}

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
