#!/usr/bin/env bash
# Compares what builds the WebAssembly with scripts/toolchain.txt, and says what differs: such a toolchain builds, too, but perhaps other
# bytes. usage: scripts/toolchain.sh EMSCRIPTEN_FOLDER [--record]   (--record: these are the recorded ones from now on)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
folder=$1
record=$ROOT/scripts/toolchain.txt

# hash_of FIND_ARGUMENTS...: of names and contents of the files found below the current folder.
hash_of() { LC_ALL=C find -L . -type f "$@" -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }
first_number() { sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p;T;q'; }

# program NAME FILE: the program's version, and the hash of it and of the libraries that come with it.
program() {
  local libraries
  libraries=$({ ldd "$2" 2>/dev/null || true; } | sed -n 's/.*=> \(.*\(LLVM\|clang\|lld\|binaryen\)[^ ]*\) .*/\1/p')
  echo "$1 $("$2" --version | first_number) $(cat "$(readlink -f "$2")" $libraries | sha256sum | cut -d' ' -f1)"
}

# The program that our own wrapper script starts (setup-emscripten.sh), or the file itself.
binary_of() {
  local wrapped
  wrapped=$(sed -n '2s|.* "\([^"]*/usr/bin/[^"]*\)" "$@"$|\1|p' "$1" | head -n 1)
  echo "${wrapped:-$1}"
}

toolchain() {
  local llvm binaryen clang lld opt
  llvm=$("$folder/em-config" LLVM_ROOT); binaryen=$("$folder/em-config" BINARYEN_ROOT)
  clang=$llvm/clang-19; [[ -x $clang ]] || clang=$llvm/clang
  lld=$llvm/wasm-ld-19; [[ -x $lld ]] || lld=$llvm/wasm-ld
  opt=$binaryen/bin/wasm-opt
  echo "emscripten $("$folder/emcc" --version | first_number) $(cd "$folder" && hash_of -not -path '*/__pycache__/*' -not -name '.emscripten*' -not -path './docs/*' -not -path './cache/*')"
  # The C and C++ libraries, ready-made, that the engine is linked with.
  echo "emscripten-libraries - $(cd "$folder/cache/sysroot/lib/wasm32-emscripten" && hash_of -maxdepth 1 \( -name 'libc*' -o -name 'libunwind*' -o -name 'libembind*' -o -name 'libemmalloc*' -o -name 'crt*' \))"
  program clang "$clang"
  program lld "$lld"
  echo "binaryen $("$opt" --version | first_number) $(sha256sum "$(binary_of "$opt")" | cut -d' ' -f1)"
  local library file
  for library in nlohmann/json.hpp stb/stb_image.h; do
    file=/usr/include/$library; [[ -f $file ]] || file=/usr/local/include/$library
    echo "${library%/*} $(grep -oEm1 '(version |v)[0-9]+\.[0-9.]+[0-9]' "$file" | first_number) $(sha256sum "$file" | cut -d' ' -f1)"
  done
}

if [[ ${2:-} == --record ]]; then
  { sed -n '/^#/p' "$record"; toolchain; } >"$record.new"
  mv "$record.new" "$record"
  exit 0
fi

# Half a minute of reading: once for each state of the toolchain and of the record.
checked=$ROOT/build/toolchain.checked
state=$(sha256sum <"$record"; stat -Lc '%n %s %Y' "$folder/emcc" "$(command -v clang-19 || echo "$folder/emcc.py")")
if [[ ! -f $checked || $(sed '/^difference: /d' "$checked") != "$state" ]]; then
  mkdir -p "$ROOT/build"
  {
    echo "$state"
    toolchain | while read -r name version hash; do
      read -r _ recorded_version recorded_hash < <(grep "^$name " "$record") || { recorded_version=none; recorded_hash=none; }
      if [[ $version != "$recorded_version" ]]; then echo "difference: $name $version instead of $recorded_version"
      elif [[ $hash != "$recorded_hash" ]]; then echo "difference: $name $version of other bytes than those recorded"; fi
    done
  } >"$checked.new"
  mv "$checked.new" "$checked"
fi
differences=$(sed -n 's/^difference: //p' "$checked")
[[ -z $differences ]] || {
  printf '\nThis is not the recorded toolchain (scripts/toolchain.txt):\n%s\n' "$(sed 's/^/  /' <<<"$differences")"
  echo "It builds the engine, and the tests tell whether rightly, but the bytes may be others."
} >&2
