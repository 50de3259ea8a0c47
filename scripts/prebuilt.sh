#!/usr/bin/env bash
# Builds the WebAssembly from the present sources into wasm/prebuilt, with their hash: for a commit of its own, whenever the sources have
# changed. Whoever has these sources then needs no compiler. usage: scripts/prebuilt.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BITMAR_FROM_SOURCE=1 "$ROOT/scripts/build.sh" wasm
differences=$("$ROOT/scripts/toolchain.sh" "$(em_folder)" 2>&1)
[[ -z $differences ]] || fail "only the recorded toolchain builds what others can compare: $differences"

mkdir -p "$ROOT/wasm/prebuilt"
rm -f "$ROOT"/wasm/prebuilt/*
cp "$ROOT"/wasm/dist/bitmar-{simd,relaxed,relaxed-threads,photos}.mjs "$ROOT"/wasm/dist/bitmar-{simd,relaxed,relaxed-threads}.wasm "$ROOT/wasm/prebuilt/"
chmod 644 "$ROOT"/wasm/prebuilt/*
wasm_sources >"$ROOT/wasm/prebuilt/sources.sha256"
say "wasm/prebuilt is of these sources: commit it by itself"
