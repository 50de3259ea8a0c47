#!/usr/bin/env bash
# Whether others can use the C++ library: installs it, moves the installed tree, builds examples/embed against it in three ways, and
# compares what each program says of a photo with what the command line says. usage: scripts/library.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh" native
need clang++-19:clang-19 pkg-config:pkgconf
cmake_build native-release bitmar bitmar_cli

work=$ROOT/build/library
prefix=$work/prefix
example=$ROOT/examples/embed
sample=$ROOT/web/demo/public/samples/cat.jpg
rm -rf "$work"

say "Installing"
cmake --install "$ROOT/build/native-release" --prefix "$work/before" >/dev/null
cmake --install "$ROOT/build/native-release" --prefix "$work/before" --component model >/dev/null
mv "$work/before" "$prefix"
library=$(find "$prefix" -name libbitmar.a)
libraries=$(dirname "$library")
if grep -rlF "$ROOT" "$libraries/cmake" "$libraries/pkgconfig" "$prefix/include"; then fail "these name the source tree"; fi
# Anything else could be defined by the program that links the library, too.
if nm -C --defined-only --extern-only "$library" 2>/dev/null | grep ' [TDBR] ' | grep -v ' bitmar::'; then fail "these are not in our namespace"; fi

say "Each header by itself"
for header in "$prefix"/include/bitmar/*.h; do
  for compiler in c++ clang++-19; do
    "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only -I"$prefix/include" -include "$header" -x c++ /dev/null
  done
done

say "examples/embed: find_package"
cmake -G Ninja -S "$example" -B "$work/find_package" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/find_package"

say "examples/embed: pkg-config"
mkdir "$work/pkg-config"
export PKG_CONFIG_PATH=$libraries/pkgconfig
c++ -std=c++20 -O2 "$example/main.cpp" $(pkg-config --cflags --libs bitmar) -o "$work/pkg-config/embed"

# The library by another compiler and without optimisation: the captions are the same nevertheless.
say "examples/embed: add_subdirectory, by Clang"
cmake -G Ninja -S "$example" -B "$work/add_subdirectory" -DCMAKE_BUILD_TYPE=Debug -DBITMAR_SOURCE="$ROOT" \
  -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
cmake --build "$work/add_subdirectory" -j "$JOBS"
if grep '"command"' "$work/add_subdirectory/compile_commands.json" | grep 'embed/main.cpp' | grep -e -Werror -e -ffp-contract -e "$ROOT/src"; then
  fail "our own flags reach those who link the library"
fi
if grep -q bitmar_tests "$work/add_subdirectory/build.ninja"; then fail "our tests are built with it"; fi

say "What they say of $(basename "$sample")"
cd "$work"  # from here the command line finds no model but the installed one
"$prefix/bin/bitmar" caption --beams 8 "$sample" >caption
for way in find_package pkg-config add_subdirectory; do
  "$work/$way/embed" "$prefix/share/bitmar/models/default" "$sample" "a cat" >"$way.txt"
  head -n 1 "$way.txt" | diff caption -
  diff find_package.txt "$way.txt"
done
# The second line is what the memory recalled: similarity and caption.
[[ $(sed -n 2p find_package.txt) == "0."*" $(<caption)" ]] || fail "the photo is not found again: $(sed -n 2p find_package.txt)"
cat find_package.txt
