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
