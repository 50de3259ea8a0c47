#!/usr/bin/env bash
# Builds the WebAssembly twice from nothing, in folders of different names, and compares the bytes.
# Then compares wasm/prebuilt with them. usage: scripts/reproduce.sh [PRESET...]   (none named: all three). Part of the full run of the tests; minutes of both cores.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" wasm
own_emcc
# Nothing of an earlier build may get in.
unset CMAKE_CXX_COMPILER_LAUNCHER CMAKE_C_COMPILER_LAUNCHER
export CCACHE_DISABLE=1

(($#)) || set -- wasm-simd wasm-relaxed wasm-relaxed-threads
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
for place in one another/much/longer/place; do
  tree=$work/$place
  mkdir -p "$tree"
  # The working tree's files that git knows or would know, and no build of them.
  (cd "$ROOT" && git ls-files -co --exclude-standard -- CMakeLists.txt CMakePresets.json web/bitmar/package.json cmake include src wasm tests bench) >"$work/files"
  tar -C "$ROOT" -cf - -T "$work/files" | tar -C "$tree" -xf -
  # The compiler alone: with Google Benchmark beside it, minutes of its probes would come first.
  mkdir "$tree/.cache"
  ln -s "$CACHE/emscripten.cmake" "$CACHE/emscripten" "$tree/.cache/"
  for preset in "$@"; do
    targets=(bitmar_wasm); [[ $preset != wasm-simd ]] || targets+=(bitmar_photos)
    say "Building $preset in $place"
    (cd "$tree" && cmake --preset "$preset" && cmake --build --preset "$preset" -j "$JOBS" --target "${targets[@]}") >"$work/log" 2>&1 ||
      { tail -n 40 "$work/log" >&2; fail "$preset did not build in $place"; }
  done
done

say "Comparing"
cd "$work"
(cd one/wasm/dist && sha256sum -- *) | tee sums
(cd another/much/longer/place/wasm/dist && sha256sum --check --quiet "$work/sums" && (($(ls | wc -l) == $(wc -l <"$work/sums")))) ||
  fail "two clean builds of the same sources differ"
say "Two clean builds are the same, byte for byte"

# What the repository holds ready-made is what its sources give, where they are still those and the toolchain is the recorded one.
if ! prebuilt_fits; then
  say "wasm/prebuilt is not of these sources (scripts/prebuilt.sh refreshes it)"
elif [[ $("$ROOT/scripts/toolchain.sh" "$(em_folder)" 2>&1) ]]; then
  say "This is not the recorded toolchain: wasm/prebuilt is not compared"
else
  for file in "$ROOT"/wasm/prebuilt/*.{mjs,wasm}; do
    [[ ! -f one/wasm/dist/${file##*/} ]] || cmp "$file" "one/wasm/dist/${file##*/}" || fail "wasm/prebuilt is not what the sources give"
  done
  say "wasm/prebuilt is what the sources give"
fi
