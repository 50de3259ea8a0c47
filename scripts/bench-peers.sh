#!/usr/bin/env bash
# Compares with other runtimes in headless Chromium. usage: npm run bench:peers [-- --rounds N ...], see bench/peers/run.mjs
# They are installed into bench/peers/node_modules, apart from the project's own packages.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" browser
"$ROOT/scripts/build.sh" wasm web
stamp=$ROOT/bench/peers/node_modules/.bitmar-setup
if [[ ! -f $stamp || $ROOT/bench/peers/package-lock.json -nt $stamp ]]; then
  say "Installing the peers"
  (cd "$ROOT/bench/peers" && npm ci --ignore-scripts --no-audit --no-fund)
  touch "$stamp"
fi
cd "$ROOT"
exec node bench/peers/run.mjs "$@"
