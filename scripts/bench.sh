#!/usr/bin/env bash
# Times kernels and stages, natively and as WebAssembly under node. usage: npm run bench [-- --benchmark_filter=REGEX ...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" native wasm bench
own_emcc
cmake_build native-release bitmar_bench
for preset in wasm-simd wasm-relaxed; do cmake_build "$preset" bitmar_bench; done
say "Native";                                "$ROOT/build/native-release/bench/bitmar_bench" "$@"
say "WebAssembly, simd128, under node";      node "$ROOT/build/wasm-simd/bench/bitmar_bench.js" "$@"
say "WebAssembly, relaxed SIMD, under node"; relaxed_node "$ROOT/build/wasm-relaxed/bench/bitmar_bench.js" "$@"
