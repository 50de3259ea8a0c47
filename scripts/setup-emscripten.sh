#!/usr/bin/env bash
# An emcc that is new enough, and .cache/emscripten.cmake pointing to it.
#
# An emcc >= 3.1.69 on PATH is used as it is. Otherwise, on Debian 12, emscripten 3.1.69 and binaryen 120 are fetched from the
# next suite (trixie) of the mirror that apt is configured with, signatures checked by apt through a private source list, and
# unpacked into .cache/emscripten; the system's own apt configuration and libc are not touched. Debian 12's clang-19 is the
# compiler. 240 MB to fetch, 1.7 GB unpacked. Whichever it is, it is compared with the recorded one (scripts/toolchain.txt).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MIN=3.1.69
OWN=$CACHE/emscripten

new_enough() { # EMCC: its version is at least MIN
  local version
  version=$("$1" --version 2>/dev/null | sed -n '1s/.*) \([0-9.]*\).*/\1/p')
  [[ -n $version && $(printf '%s\n' "$MIN" "$version" | sort -V | head -n 1) == "$MIN" ]]
}

use() { # FOLDER of emcc: the presets read this file. Rewritten only on change, so that cmake does not configure again.
  local module=$1/cmake/Modules/Platform/Emscripten.cmake
  [[ -f $module ]] || fail "$1 holds an emcc but no CMake toolchain file ($module)"
  printf 'include("%s")\n' "$module" >"$CACHE/emscripten.cmake.new"
  cmp -s "$CACHE/emscripten.cmake.new" "$CACHE/emscripten.cmake" || cp "$CACHE/emscripten.cmake.new" "$CACHE/emscripten.cmake"
  rm "$CACHE/emscripten.cmake.new"
  "$ROOT/scripts/toolchain.sh" "$1" || echo "The toolchain could not be compared with scripts/toolchain.txt" >&2
}

fetch() ( # into OWN.part, renamed at the very end: an interrupted run leaves nothing half done
  part=$OWN.part
  rm -rf "$part"; mkdir -p "$part/runtime" "$part/binaryen/bin"
  work=$(mktemp -d); chmod 755 "$work"; trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{lists/partial,cache/archives/partial,debs}; chmod -R 777 "$work"/{lists,cache,debs}
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk '$2 == "bookworm" { print $1; exit }')
  [[ -n $uri ]] || fail "apt has no bookworm source here: install emscripten >= $MIN and put its emcc on PATH"
  echo "deb [signed-by=$key] $uri trixie main" >"$work/sources.list"
  private=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
                 -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache")
  apt_get "${private[@]}" update
  packages=(emscripten binaryen node-acorn libc6 libstdc++6 libgcc-s1)
  (cd "$work/debs" && apt_get "${private[@]}" download "${packages[@]/%//trixie}")
  for name in emscripten binaryen node-acorn; do dpkg-deb -x "$work/debs/$name"_*.deb "$part"; done
  # binaryen needs trixie's libc: its programs start through that libc's own loader.
  for name in libc6 libstdc++6 libgcc-s1; do dpkg-deb -x "$work/debs/$name"_*.deb "$part/runtime"; done
  libs=$(cd "$part" && dirname "$(find runtime/usr/lib -name 'ld-linux*.so.*' | head -n 1)")
  for tool in "$part"/usr/bin/wasm*; do
    name=$(basename "$tool")
    printf '#!/bin/sh\nexec "%s" --library-path "%s:%s" "%s" "$@"\n' "$OWN/$libs/$(basename "$(ls "$part/$libs"/ld-linux*.so.*)")" \
      "$OWN/$libs" "$OWN/usr/${libs#runtime/usr/}" "$OWN/usr/bin/$name" >"$part/binaryen/bin/$name"
    chmod +x "$part/binaryen/bin/$name"
  done
  # Unpacked here and not installed: it would bring Debian's own, older node.
  mkdir -p "$part/usr/share/emscripten/node_modules"
  ln -s ../../nodejs/acorn "$part/usr/share/emscripten/node_modules/acorn"
  cat >"$part/usr/share/emscripten/.emscripten" <<CONFIG
LLVM_ROOT = '/usr/bin'
BINARYEN_ROOT = '$OWN/binaryen'
NODE_JS = 'node'
FROZEN_CACHE = True
LLVM_ADD_VERSION = '19'
CLANG_ADD_VERSION = '19'
CONFIG
  rm -rf "$OWN"; mv "$part" "$OWN"
)

mkdir -p "$CACHE"
if has emcc && new_enough emcc; then
  use "$(dirname "$(realpath "$(command -v emcc)")")"
  exit 0
fi

[[ ! -r /etc/os-release ]] || . /etc/os-release
[[ ${VERSION_CODENAME:-} == bookworm ]] || fail "please install emscripten >= $MIN and put its emcc on PATH"
need clang-19 lld-19 llvm-19 python3:python3 dpkg-deb:dpkg
if [[ ! -x $OWN/usr/share/emscripten/emcc ]]; then
  say "Fetching emscripten $MIN into .cache/emscripten"
  [[ $(uname -m) == x86_64 || $(uname -m) == aarch64 ]] || fail "no ready-made emscripten for $(uname -m): put an emcc >= $MIN on PATH"
  fetch
fi
use "$OWN/usr/share/emscripten"
