#!/usr/bin/env bash
# Builds and runs every test. usage: npm test [-- PART...]   (none named: all, in this order)
#   native   GoogleTest with AddressSanitizer and UndefinedBehaviorSanitizer
#   wasm     GoogleTest compiled to WebAssembly, both builds, under node
#   python   the PyTorch reference: model, training, metrics, export
#   node     the npm package under node
#   browser  the page and the package in headless Chromium
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_native() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-debug bitmar_tests bitmar_cli
  say "GoogleTest, native, with ASan and UBSan"
  "$ROOT/build/native-debug/tests/bitmar_tests" --gtest_brief=1
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

test_python() {
  "$ROOT/scripts/setup.sh" python
  local python=python3
  "$python" -c 'import torch' 2>/dev/null || python=/usr/bin/python3  # Debian's, where another one comes first on PATH
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

(($#)) || set -- native wasm python node browser
results=() failed=0
for part in "$@"; do
  case $part in native | wasm | python | node | browser) ;; *) fail "unknown part '$part'; see the top of scripts/test.sh" ;; esac
  start=$SECONDS
  # A part is a process of its own, so that a failure ends the part and not the run.
  if [[ -n ${BITMAR_TEST_PART:-} ]]; then "test_$part"; exit; fi
  if BITMAR_TEST_PART=1 "${BASH_SOURCE[0]}" "$part"; then verdict=passed; else verdict=FAILED failed=1; fi
  results+=("$(printf '%-8s %s  %4d s' "$part" "$verdict" $((SECONDS - start)))")
done
say "All parts"
printf '%s\n' "${results[@]}"
exit "$failed"
