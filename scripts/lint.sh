#!/usr/bin/env bash
# Looks for bugs and for layout that is not ours, without running anything. usage: npm run lint [-- --all | --since COMMIT]
#   clang-format   C++: layout (.clang-format)
#   clang-tidy     C++: bugs and waste (.clang-tidy), in files that differ from COMMIT; --all: in every file, which takes minutes
#   biome          TypeScript, JavaScript, JSON, HTML and CSS: bugs (biome.jsonc)
#   ruff           Python: bugs (ruff.toml)
#   git            blanks at the ends of lines, and what a merge left (.editorconfig)
# COMMIT is where the branch left origin/main; on main itself it is the last commit but one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
all='' since=''
while (($#)); do
  case $1 in
    --all) all=1 ;;
    --since) since=${2:?--since needs a commit}; shift ;;
    *) fail "unknown option '$1'; there are --all and --since COMMIT" ;;
  esac
  shift
done
"$ROOT/scripts/setup.sh" native npm lint
cd "$ROOT"

# Where the changes begin. A clone without a history has the empty tree there: all of it is new.
start() {
  local head fork
  head=$(git rev-parse HEAD)
  fork=$(git merge-base HEAD origin/main 2>/dev/null) || fork=$head
  [[ $fork != "$head" ]] || fork=$(git rev-parse -q --verify HEAD~1) || fork=$(git hash-object -t tree /dev/null)
  echo "$fork"
}

# What clang-tidy reads: sources that a native build compiles, one to a line. A header is read with the source of its name, or else with the
# first that includes it.
sources() {
  python3 - "$ROOT/build/native-debug/compile_commands.json" "$ROOT" "$@" <<'PY'
import json, os, re, sys
commands, root, *changed = sys.argv[1:]
compiled = sorted({os.path.relpath(e["file"], root) for e in json.load(open(commands))})
compiled = [file for file in compiled if not file.startswith(("build/", ".cache/", ".."))]
chosen = set(compiled) if not changed else set(compiled) & set(changed)
for header in (file for file in changed if file.endswith(".h")):
    included = re.compile(rf'^#include "([^"\n]*/)?{re.escape(os.path.basename(header))}"', re.MULTILINE)
    chosen.update([f for f in compiled if f == header[:-2] + ".cpp"] or [f for f in compiled if included.search(open(f).read())][:1])
print("\n".join(sorted(chosen)))
PY
}

tidy() {
  local changed=()
  # Configured anew, since commands of an earlier commit would be of its files.
  mkdir -p build
  cmake --preset native-debug >build/native-debug.log 2>&1 || { tail -n 40 build/native-debug.log >&2; return 1; }
  if [[ -z $all ]]; then
    mapfile -t changed < <(git diff --name-only --diff-filter=d "${since:-$(start)}" -- '*.cpp' '*.h'; git ls-files --others --exclude-standard -- '*.cpp' '*.h')
    ((${#changed[@]})) || { echo "no C++ has changed"; return 0; }
  fi
  local files; files=$(sources "${changed[@]}")
  [[ -n $files ]] || { echo "no compiled C++ has changed"; return 0; }
  wc -l <<<"$files" | xargs printf '%s files\n'
  xargs -P "$JOBS" -n 1 clang-tidy-19 -p build/native-debug --quiet --extra-arg=-Wno-unknown-warning-option <<<"$files" 2>build/clang-tidy.log ||
    { grep -v 'warnings* generated' build/clang-tidy.log >&2; return 1; }
}

# Every file of ours that matches, also those that git does not know yet.
layout() {
  local file files=()
  while IFS= read -rd '' file; do [[ ! -f $file ]] || files+=("$file"); done < <(git ls-files -z --cached --others --exclude-standard -- '*.cpp' '*.h')
  clang-format-19 --dry-run --Werror "${files[@]}"
}

failed=()
check() { # NAME COMMAND...
  say "$1"
  "${@:2}" || failed+=("$1")
}
check clang-format layout
check biome npx --no-install biome lint --error-on-warnings .
check ruff "$CACHE/ruff/bin/ruff" check --quiet .
check git git diff --check "$(git hash-object -t tree /dev/null)" -- . ':!wasm/prebuilt' ':!*.svg'
check clang-tidy tidy
((${#failed[@]} == 0)) || fail "findings of: ${failed[*]}"
