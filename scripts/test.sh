#!/usr/bin/env bash
# Builds and runs every test. usage: npm test [-- PART...]   (none named: lint native wasm library python node browser bench)
#   lint       layout and bugs, by linters (scripts/lint.sh); with full, clang-tidy reads every file
#   native     GoogleTest with AddressSanitizer and UndefinedBehaviorSanitizer, and the table of hostile inputs, also in a release build
#   wasm       GoogleTest compiled to WebAssembly, both builds, under node
#   library    the C++ library: installed, and linked by a program in three ways
#   python     the PyTorch reference: model, training, metrics, export
#   node       the npm package under node
#   browser    the page and the package in headless Chromium
#   bench      one round of every benchmark but those of other runtimes, so that they go on working: their figures mean nothing
#   quick      what to run before each commit: lint, and these two
#   unit       GoogleTest in one build, the native release; the golden vectors are among them
#   page       the page in Chromium, one visit
#   full       the usual parts, and then what takes long:
#   tsan       what threads share, with ThreadSanitizer
#   random     200 random models by every table of kernels, native and WebAssembly
#   fuzz       every parser for a minute
#   arm        GoogleTest for 64-bit Arm under QEMU, and the same captions as here
#   compilers  the engine by every compiler that Debian 12 has
#   chaos      storms of 10,000 calls, most of which go wrong, under node and in Chromium
#   storage    the memory on a disk that fails at every place, 200 races, 2,000 flipped bits, 25 killed browsers
#   bundlers   a page built by every bundler, in Chromium
#   browsers   the package and the page in Firefox ESR and WebKitGTK
#   peers      one round of the benchmarks beside other runtimes, and of our own as WebAssembly
#   reproduce  two clean builds of the WebAssembly, compared byte for byte
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A part is a function test_PART below. `npm test` runs the usual ones, `npm test -- full` the long ones too, `npm test -- quick` a few in two minutes.
QUICK=(lint unit page)
USUAL=(lint native wasm library python node browser bench)
LONG=(tsan random fuzz arm compilers chaos storage bundlers browsers peers reproduce)

# The folder of the hostile inputs, made anew where the script that makes them is newer.
hostile_inputs() {
  local folder=$ROOT/build/hostile
  [[ $folder/table.json -nt $ROOT/tests/hostile/make.mjs ]] || node "$ROOT/tests/hostile/make.mjs" "$folder"
}

test_lint() { "$ROOT/scripts/lint.sh" ${BITMAR_LINT_ALL:+--all}; }

test_unit() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-release bitmar_tests
  say "GoogleTest, native, release"
  "$ROOT/build/native-release/tests/bitmar_tests" --gtest_brief=1
}

test_page() {
  "$ROOT/scripts/setup.sh" browser
  "$ROOT/scripts/build.sh" wasm web
  say "One visit to the page"
  (cd "$ROOT" && node --test --test-reporter=spec tests/browser/security.test.mjs)
}

test_native() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-debug bitmar_tests bitmar_cli bitmar_hostile
  say "GoogleTest, native, with ASan and UBSan"
  "$ROOT/build/native-debug/tests/bitmar_tests" --gtest_brief=1
  say "Hostile inputs, native, with ASan and UBSan"
  hostile_inputs
  "$ROOT/build/native-debug/tests/bitmar_hostile" "$ROOT/build/hostile"
  cmake_build native-release bitmar_hostile bitmar_cli
  say "Hostile inputs, native, release: each within a second of the processor and 256 MB"
  "$ROOT/build/native-release/tests/bitmar_hostile" "$ROOT/build/hostile"
}

test_wasm() {
  "$ROOT/scripts/setup.sh" wasm
  own_emcc
  cmake_build wasm-simd bitmar_tests
  cmake_build wasm-relaxed bitmar_tests
  say "GoogleTest, WebAssembly with simd128, under node"
  node "$ROOT/build/wasm-simd/tests/bitmar_tests.js" --gtest_brief=1
  say "GoogleTest, WebAssembly with relaxed SIMD, under node"
  relaxed_node "$ROOT/build/wasm-relaxed/tests/bitmar_tests.js" --gtest_brief=1
}

test_library() { "$ROOT/scripts/library.sh"; }

test_python() {
  "$ROOT/scripts/setup.sh" python
  local python
  python=$(training_python)
  say "Python"
  (cd "$ROOT" && PYTHONPATH=models PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest discover -s tests/python)
}

test_node() {
  "$ROOT/scripts/build.sh" wasm web
  say "The package under node"
  (cd "$ROOT" && node --test --test-reporter=spec tests/node/*.test.*)
}

test_browser() {
  "$ROOT/scripts/setup.sh" browser
  "$ROOT/scripts/build.sh" wasm web
  own_emcc
  cmake_build wasm-relaxed bitmar_kernels_tests
  say "Chromium"
  # One at a time: the tests time what they see, and two browsers on two cores disturb each other.
  (cd "$ROOT" && node --test --test-reporter=spec --test-concurrency=1 tests/browser/*.test.*)
}

test_bench() {
  "$ROOT/scripts/setup.sh" native bench browser
  "$ROOT/scripts/build.sh" wasm web
  cmake_build native-release bitmar_bench
  say "Kernels and stages, natively, once each"
  BITMAR_STREAM_TOKENS=1000 "$ROOT/build/native-release/bench/bitmar_bench" --benchmark_min_time=0
  cd "$ROOT"
  say "Photos and a webcam, one round"
  node bench/frames.mjs 1 relaxed 8
  say "Threads, one round"
  node bench/threads.mjs 1
  say "The memory, 30 photos"
  node bench/memory.mjs 30
}

test_tsan() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-tsan bitmar_thread_tests
  say "GoogleTest, native, with ThreadSanitizer"
  # Its shadow memory wants addresses where they usually are.
  local fixed=(); ! setarch -R true 2>/dev/null || fixed=(setarch -R)
  "${fixed[@]}" "$ROOT/build/native-tsan/tests/bitmar_thread_tests" --gtest_brief=1
}

test_random() {
  "$ROOT/scripts/setup.sh" native wasm
  own_emcc
  export BITMAR_RANDOM_MODELS=200
  cmake_build native-release bitmar_tests
  "$ROOT/build/native-release/tests/bitmar_tests" --gtest_brief=1 --gtest_filter='Differential.*'
  cmake_build wasm-simd bitmar_tests
  cmake_build wasm-relaxed bitmar_tests
  cmake_build wasm-relaxed-threads bitmar_tests
  node "$ROOT/build/wasm-simd/tests/bitmar_tests.js" --gtest_brief=1 --gtest_filter='Differential.*'
  relaxed_node "$ROOT/build/wasm-relaxed/tests/bitmar_tests.js" --gtest_brief=1 --gtest_filter='Differential.*'
  relaxed_node "$ROOT/build/wasm-relaxed-threads/tests/bitmar_tests.js" --gtest_brief=1 --gtest_filter='Differential.*'
}

test_fuzz() { "$ROOT/scripts/fuzz.sh" all 60; }

test_arm() {
  "$ROOT/scripts/setup.sh" native
  need g++-aarch64-linux-gnu qemu-user
  cmake_build native-arm64 bitmar_tests bitmar_cli
  cmake_build native-release bitmar_cli
  local qemu=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
  say "GoogleTest, 64-bit Arm, under QEMU"
  "${qemu[@]}" "$ROOT/build/native-arm64/tests/bitmar_tests" --gtest_brief=1
  say "Captions on 64-bit Arm, by each table of kernels, and here"
  local caption=(caption --model "$ROOT/models/default" --beams 8 --json "$ROOT"/web/demo/public/samples/*.jpg) times='s/"[a-z]*_ms":[^,}]*[,}]//g'
  "$ROOT/build/native-release/src/bitmar" "${caption[@]}" | sed "$times" >"$ROOT/build/captions-here"
  local table
  for table in neon_dot neon; do
    BITMAR_KERNELS=$table "${qemu[@]}" "$ROOT/build/native-arm64/src/bitmar" "${caption[@]}" | sed "$times" | diff "$ROOT/build/captions-here" -
  done
  wc -l <"$ROOT/build/captions-here" | xargs printf '%s captions are the same, token for token\n'
}

test_compilers() { "$ROOT/scripts/compilers.sh"; }

test_chaos() {
  "$ROOT/scripts/setup.sh" browser
  "$ROOT/scripts/build.sh" wasm web
  say "Storms of calls"
  (cd "$ROOT" && BITMAR_CHAOS_CALLS=10000 node --test --test-reporter=spec --test-concurrency=1 tests/{node,browser}/chaos.test.mjs)
}

test_storage() {
  "$ROOT/scripts/setup.sh" browser
  "$ROOT/scripts/build.sh" wasm web
  say "The memory and its storage"
  (cd "$ROOT" && BITMAR_ROUNDS=200 BITMAR_FLIPS=2000 BITMAR_FAULTS=all BITMAR_KILLS=25 \
    node --test --test-reporter=spec --test-concurrency=1 tests/node/store-{race,damage,faults}.test.mjs tests/browser/kill.test.mjs)
}

test_bundlers() {
  "$ROOT/scripts/setup.sh" browser
  "$ROOT/scripts/build.sh" wasm package
  say "Every bundler"
  (cd "$ROOT" && BITMAR_BUNDLERS=all node --test --test-reporter=spec --test-concurrency=1 tests/browser/{bundlers,examples}.test.mjs)
}

test_browsers() {
  "$ROOT/scripts/setup.sh" npm
  need firefox-esr WebKitWebDriver:webkit2gtk-driver xvfb-run:xvfb xauth
  "$ROOT/scripts/build.sh" wasm web
  (cd "$ROOT/tests/browsers" && npm ci --ignore-scripts --no-audit --no-fund)
  say "Firefox ESR and WebKitGTK"
  (cd "$ROOT" && xvfb-run -a node --test --test-reporter=spec tests/browsers/*.test.mjs)
}

test_peers() {
  BITMAR_STREAM_TOKENS=1000 "$ROOT/scripts/bench.sh" --benchmark_min_time=0
  "$ROOT/scripts/bench-peers.sh" --rounds 1
}

test_reproduce() { "$ROOT/scripts/reproduce.sh"; }

parts=()
for part in "${@:-usual}"; do
  case $part in
    usual) parts+=("${USUAL[@]}") ;;
    quick) parts+=("${QUICK[@]}") ;;
    full) parts+=("${USUAL[@]}" "${LONG[@]}"); export BITMAR_LINT_ALL=1 ;;
    *) [[ " ${QUICK[*]} ${USUAL[*]} ${LONG[*]} " == *" $part "* ]] || fail "unknown part '$part'; see the top of scripts/test.sh"; parts+=("$part") ;;
  esac
done
results=() failed=0
for part in "${parts[@]}"; do
  start=$SECONDS
  # A part is a process of its own, so that a failure ends the part and not the run.
  if [[ -n ${BITMAR_TEST_PART:-} ]]; then "test_$part"; exit; fi
  if BITMAR_TEST_PART=1 "${BASH_SOURCE[0]}" "$part"; then verdict=passed; else verdict=FAILED failed=1; fi
  results+=("$(printf '%-9s %s  %4d s' "$part" "$verdict" $((SECONDS - start)))")
done
say "All parts"
printf '%s\n' "${results[@]}"
exit "$failed"
