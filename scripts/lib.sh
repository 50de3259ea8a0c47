# Shared by the scripts of this folder: where things are, how to speak, how to install. Sourced, not run.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
JOBS=${BITMAR_JOBS:-$(nproc 2>/dev/null || echo 2)}

say()  { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
has()  { command -v "$1" >/dev/null 2>&1; }
installed() { dpkg -s "$1" 2>/dev/null | grep -q '^Status: .* installed$'; }

# apt_get ARGS...: quiet unless it fails, never asks.
apt_get() {
  local log; log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2; rm -f "$log"
    fail "apt-get $1 failed; its last lines are above"
  fi
  rm -f "$log"
}

# need WHAT...: makes sure of each WHAT, which is PACKAGE, or TOOL:PACKAGE (the package only where the tool is not on PATH).
# Touches apt only when something is missing; where it cannot install, says what to install and stops.
need() {
  local what tool missing=()
  for what in "$@"; do
    tool=${what%%:*}
    if [[ $what == *:* ]]; then has "$tool" || missing+=("${what#*:}")
    elif ! has dpkg; then missing+=("$what")
    else installed "$what" || missing+=("$what"); fi
  done
  ((${#missing[@]})) || return 0
  has apt-get || fail "please install, then run this again (names are Debian's): ${missing[*]}"
  [[ $(id -u) == 0 ]] || fail "please run this as root, then run this again: apt-get install ${missing[*]}"
  say "Installing ${missing[*]}"
  apt_get update
  apt_get install -y --no-install-recommends "${missing[@]}"
}

# cmake_build PRESET [TARGET...]: configures where needed, then builds.
cmake_build() {
  local preset=$1 tree=$ROOT/build/$1 log; shift
  if [[ ! -f $tree/build.ninja || $ROOT/CMakePresets.json -nt $tree/build.ninja ]]; then
    say "Configuring $preset"
    mkdir -p "$ROOT/build"; log=$ROOT/build/$preset.log
    (cd "$ROOT" && cmake --preset "$preset" >"$log" 2>&1) || { tail -n 40 "$log" >&2; fail "cmake --preset $preset failed"; }
    touch "$tree/build.ninja"
  fi
  say "Building $preset"
  (cd "$ROOT" && cmake --build --preset "$preset" -j "$JOBS" ${1:+--target "$@"})
}

# The python that has what models/pyproject.toml names: the one on PATH, or that of scripts/setup.sh. Fails where neither has it all.
training_python() {
  local python
  for python in python3 "$CACHE/python/bin/python"; do
    "$python" -c 'import torch, numpy, PIL, regex, safetensors, tokenizers, sklearn' 2>/dev/null || continue
    echo "$python"
    return
  done
  return 1
}

# The emscripten that scripts/setup-emscripten.sh has found or installed.
em_folder() { sed -n 's|^include("\(.*\)/cmake/Modules/.*|\1|p' "$CACHE/emscripten.cmake"; }

# The hash of all that the WebAssembly is built from, and of the record of what it is built with.
wasm_sources() {
  (cd "$ROOT" && find CMakeLists.txt CMakePresets.json scripts/toolchain.txt include src wasm -path src/cli -prune -o -path src/compat -prune -o -path wasm/dist -prune -o -path wasm/prebuilt -prune -o \
    -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.js' -o -name '*.json' -o -name '*.txt' -o -name '*.in' \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

# Whether wasm/prebuilt is what a build of the present sources would give.
prebuilt_fits() { [[ -f $ROOT/wasm/prebuilt/sources.sha256 && $(<"$ROOT/wasm/prebuilt/sources.sha256") == "$(wasm_sources)" ]]; }

# The node that the wasm of the relaxed build needs: node 20 has relaxed SIMD behind a flag, later ones have it without.
relaxed_node() {
  local flag=--experimental-wasm-relaxed-simd
  if node $flag -e 0 2>/dev/null; then node $flag "$@"; else node "$@"; fi
}

# Our own emscripten reads the configuration beside it, whatever an older one in the environment says.
own_emcc() {
  if grep -q "\"$CACHE/emscripten/" "$CACHE/emscripten.cmake"; then unset EM_CONFIG; fi
}
