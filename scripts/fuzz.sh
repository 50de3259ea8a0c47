#!/usr/bin/env bash
# Fuzzes one parser for some seconds, or each in turn. usage: npm run fuzz -- TARGET SECONDS   (TARGET: all, or a file of tests/fuzz)
# Begins with the inputs of tests/fuzz/corpus and the small ones of the hostile table. What a run finds beyond them stays in
# build/fuzz-corpus/TARGET; an input that breaks something is kept as build/fuzz-corpus/TARGET.crash-..., and the run fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target=${1:-all} seconds=${2:-60}
all=()
for source in "$ROOT"/tests/fuzz/*.cpp; do all+=("$(basename "$source" .cpp)"); done
if [[ $target == all ]]; then chosen=("${all[@]}"); else chosen=("$target"); fi
for each in "${chosen[@]}"; do [[ -f $ROOT/tests/fuzz/$each.cpp ]] || fail "there is no target '$each'; the targets are ${all[*]}"; done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "SECONDS is a whole number, not '$seconds'"

clang=${BITMAR_CLANG:-clang++-19}
"$ROOT/scripts/setup.sh" native
need "$clang:clang-19" libclang-rt-19-dev nodejs
export CXX=$clang CC=${clang/++/}
cmake_build fuzz "${chosen[@]/#/fuzz_}"

# Seeds: libFuzzer takes folders, so that the small hostile inputs of a kind go into one.
hostile=$ROOT/build/hostile
[[ -f $hostile/table.json && $hostile/table.json -nt $ROOT/tests/hostile/make.mjs ]] || node "$ROOT/tests/hostile/make.mjs" "$hostile"
node "$ROOT/tests/fuzz/seeds.mjs" "$hostile" "$ROOT/build/fuzz-seeds"

# The sanitizers take a multiple of an input's own memory; quarantine is kept small for that.
export ASAN_OPTIONS=quarantine_size_mb=16:${ASAN_OPTIONS:-}
for each in "${chosen[@]}"; do
  say "Fuzzing $each for $seconds s"
  corpus=$ROOT/build/fuzz-corpus/$each kept=$ROOT/tests/fuzz/corpus/$each dictionary=$ROOT/tests/fuzz/$each.dict
  mkdir -p "$corpus" "$kept"
  arguments=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 -artifact_prefix="$corpus.")
  [[ ! -f $dictionary ]] || arguments+=(-dict="$dictionary")
  log=$ROOT/build/fuzz-$each.log
  if ! "$ROOT/build/fuzz/tests/fuzz/fuzz_$each" "${arguments[@]}" "$corpus" "$kept" "$ROOT/build/fuzz-seeds/$each" >"$log" 2>&1; then
    tail -n 40 "$log"
    fail "fuzzing $each found something: see above, and $log"
  fi
  grep -E '^stat::number_of_executed_units|^stat::new_units_added|^stat::peak_rss_mb' "$log"
done
