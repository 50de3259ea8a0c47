#!/usr/bin/env bash
# Installs what is missing, and only that. usage: scripts/setup.sh [native] [wasm] [bench] [npm] [python] [browser] [lint]   (none named: all)
# Debian packages go to the system (as root); all else goes to .cache/ and node_modules/, which git ignores.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

setup_node() {
  has node && has npm || fail "please install node 20 or later, with npm"
  (($(node -p 'process.versions.node.split(".")[0]') >= 20)) || fail "node 20 or later is needed; this is $(node --version)"
}

setup_native() {
  need c++:g++ cmake:cmake ninja:ninja-build nlohmann-json3-dev libstb-dev googletest
}

setup_wasm() {
  setup_node
  need cmake:cmake ninja:ninja-build nlohmann-json3-dev libstb-dev googletest
  "$ROOT/scripts/setup-emscripten.sh"
}

# Google Benchmark's sources, for WebAssembly needs them: Debian's, by apt with a private source list.
setup_bench() {
  [[ ! -f $CACHE/benchmark/CMakeLists.txt ]] || return 0
  has apt-get || fail "please unpack Google Benchmark's sources into .cache/benchmark"
  need tar xz:xz-utils
  say "Fetching the sources of Google Benchmark into .cache/benchmark"
  local work uri codename list
  work=$(mktemp -d); chmod 755 "$work"
  mkdir -p "$work"/{lists/partial,cache/archives/partial,source}; chmod -R 777 "$work"
  # apt's own main source, as a source of sources
  read -r uri codename < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk '$2 !~ /-/ && $1 ~ /\/debian\/?$/ { print; exit }') || fail "apt has no Debian source here"
  list="$work/sources.list"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $codename main" >"$list"
  local private=(-o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=/dev/null
                 -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache")
  apt_get "${private[@]}" update
  (cd "$work/source" && apt_get "${private[@]}" source --download-only benchmark)
  mkdir -p "$CACHE/benchmark.part"
  tar -xf "$work"/source/benchmark_*.orig.tar.* -C "$CACHE/benchmark.part" --strip-components=1
  mv "$CACHE/benchmark.part" "$CACHE/benchmark"
  rm -rf "$work"
}

# The workspaces' packages, when package-lock.json or a package.json has changed since the last time.
setup_npm() {
  setup_node
  local stamp=$ROOT/node_modules/.bitmar-setup sum
  sum=$(cd "$ROOT" && cat package-lock.json package.json web/*/package.json 2>/dev/null | sha256sum)
  [[ ! -f $stamp || $(<"$stamp") != "$sum" ]] || return 0
  say "Installing npm packages"
  (cd "$ROOT" && if [[ -f package-lock.json ]]; then npm ci --no-audit --no-fund; else npm install --no-audit --no-fund; fi)
  sum=$(cd "$ROOT" && cat package-lock.json package.json web/*/package.json 2>/dev/null | sha256sum)
  echo "$sum" >"$stamp"
}

# The PyTorch reference and its tests: whichever python has all that they need, else Debian's. Debian 12 lacks safetensors and tokenizers:
# a virtual environment on top of its packages has them, in the versions of the lock.
setup_python() {
  ! training_python >/dev/null || return 0
  need python3-torch python3-numpy python3-pil python3-regex python3-sklearn python3-venv
  say "Installing safetensors and tokenizers into .cache/python"
  /usr/bin/python3 -m venv --system-site-packages "$CACHE/python"
  "$CACHE/python/bin/pip" install -q --disable-pip-version-check -c "$ROOT/models/requirements.lock" safetensors tokenizers
}

setup_browser() {
  [[ -n ${CHROMIUM_PATH:-} ]] || has chromium || need chromium
}

# Linters, each in one version: another one has other opinions. Biome is among the npm packages.
setup_lint() {
  local ruff=0.17.5
  need clang-format-19 clang-tidy-19
  [[ $("$CACHE/ruff/bin/ruff" --version 2>/dev/null) != "ruff $ruff" ]] || return 0
  need python3-venv
  say "Installing ruff into .cache/ruff"
  /usr/bin/python3 -m venv "$CACHE/ruff"
  "$CACHE/ruff/bin/pip" install -q --disable-pip-version-check "ruff==$ruff"
}

(($#)) || set -- native wasm bench npm python browser lint
for part in "$@"; do
  case $part in
    native | wasm | bench | npm | python | browser | lint) "setup_$part" ;;
    *) fail "unknown part '$part'; the parts are native wasm bench npm python browser lint" ;;
  esac
done
