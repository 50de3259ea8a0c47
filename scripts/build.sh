#!/usr/bin/env bash
# Builds what people use. usage: npm run build [-- [native] [wasm] [package] [web]]   (none named: all)
#   native   build/native-release/src/bitmar, the command line
#   wasm     wasm/dist/bitmar-{simd,relaxed,relaxed-threads}.{mjs,wasm}, bitmar-photos.mjs
#   package  web/bitmar/dist and web/bitmar-model/model, the npm packages
#   web      the same, and web/demo/dist, the page
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build_native() {
  "$ROOT/scripts/setup.sh" native
  cmake_build native-release bitmar_cli
}

# Builds are reproducible: files of the repository that these very sources gave save the compiler. BITMAR_FROM_SOURCE=1: build all the same.
build_wasm() {
  if [[ -z ${BITMAR_FROM_SOURCE:-} ]] && prebuilt_fits; then
    local file
    mkdir -p "$ROOT/wasm/dist"
    for file in "$ROOT"/wasm/prebuilt/*.{mjs,wasm}; do
      cmp -s "$file" "$ROOT/wasm/dist/${file##*/}" || cp "$file" "$ROOT/wasm/dist/"
    done
    return 0
  fi
  "$ROOT/scripts/setup.sh" wasm
  own_emcc
  cmake_build wasm-simd bitmar_wasm bitmar_photos
  cmake_build wasm-relaxed bitmar_wasm
  cmake_build wasm-relaxed-threads bitmar_wasm
}

# newer_than FILE PATH...: whether anything below these paths, but what was built, is newer than the file, or the file is missing.
newer_than() {
  local file=$1; shift
  [[ ! -f $file || -n $(find "$@" \( -path "$ROOT/web/*/dist" -o -path "$ROOT/web/bitmar-model/model" -o -name node_modules \) -prune -o -newer "$file" -print -quit) ]]
}

# The TypeScript, if anything that it is made from is newer.
build_package() {
  "$ROOT/scripts/setup.sh" npm
  local built=$ROOT/web/bitmar/dist/index.js
  newer_than "$built" "$ROOT"/web/{bitmar,bitmar-model} "$ROOT"/{wasm/dist,models/default,package-lock.json} || return 0
  say "Building the package"
  (cd "$ROOT" && npm run --silent build -w bitmar)
  touch "$built"
}

build_web() {
  build_package
  local page=$ROOT/web/demo/dist/index.html
  [[ $ROOT/web/bitmar/dist/index.js -nt $page ]] || newer_than "$page" "$ROOT"/web/demo || return 0
  say "Building the page"
  (cd "$ROOT" && npm run --silent build -w bitmar-demo)
  touch "$page"
}

(($#)) || set -- native wasm web
for part in "$@"; do
  case $part in
    native | wasm | package | web) "build_$part" ;;
    *) fail "unknown part '$part'; the parts are native wasm package web" ;;
  esac
done
