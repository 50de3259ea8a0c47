#!/usr/bin/env bash
# Builds what people use. usage: npm run build [-- [native] [wasm] [web]]   (none named: all)
#   native  build/native-release/src/bitmar, the command line
#   wasm    wasm/dist/bitmar-{simd,relaxed,relaxed-threads}.{mjs,wasm}, bitmar-photos.mjs
#   web     web/bitmar/dist, the npm package, and web/demo/dist, the page
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build_native() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-release bitmar_cli
}

build_wasm() {
  "$ROOT/scripts/setup.sh" wasm
  own_emcc
  cmake_build wasm-simd bitmar_wasm bitmar_photos
  cmake_build wasm-relaxed bitmar_wasm
  cmake_build wasm-relaxed-threads bitmar_wasm
}

# The TypeScript and the page, if anything that they are made from is newer than the page.
build_web() {
  "$ROOT/scripts/setup.sh" npm
  local page=$ROOT/web/demo/dist/index.html
  if [[ -f $page && -z $(find "$ROOT"/web/{bitmar,demo} "$ROOT"/{wasm/dist,models/default,package-lock.json} \
    \( -path "$ROOT/web/*/dist" -o -name node_modules \) -prune -o -newer "$page" -print -quit) ]]; then
    return 0
  fi
  say "Building the package"
  (cd "$ROOT" && npm run --silent build -w bitmar)
  say "Building the page"
  (cd "$ROOT" && npm run --silent build -w bitmar-demo)
  touch "$page"
}

(($#)) || set -- native wasm web
for part in "$@"; do
  case $part in
    native | wasm | web) "build_$part" ;;
    *) fail "unknown part '$part'; the parts are native wasm web" ;;
  esac
done
