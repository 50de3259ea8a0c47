#!/usr/bin/env bash
# The command line under node. usage: npm run --silent bitmar -- caption photo.jpg [--prompt TEXT] [--json]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/build.sh" wasm web >&2
cd "${INIT_CWD:-$PWD}"
exec node "$ROOT/web/bitmar/dist/cli.js" "$@"
