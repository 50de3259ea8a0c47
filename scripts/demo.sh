#!/usr/bin/env bash
# Builds the page and serves it. usage: npm run demo [-- --port N]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/build.sh" wasm web
exec node "$ROOT/scripts/serve.mjs" "$ROOT/web/demo/dist" "$@"
