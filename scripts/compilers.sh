#!/usr/bin/env bash
# Whether the engine compiles without a warning by every compiler that Debian 12 has. usage: scripts/compilers.sh [COMPILER...]
# With all warnings of the build and as errors; by GCC 12 and Clang 19 optimised, since some warnings need the optimiser, by the
# others syntax and types only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($#)) || set -- g++-11 g++-12 clang++-14 clang++-15 clang++-16 clang++-19
"$ROOT/scripts/setup.sh" native
# Configured anew, since commands of an earlier commit would be of its files.
commands=$ROOT/build/native-debug/compile_commands.json
(mkdir -p "$ROOT/build" && cd "$ROOT" && cmake --preset native-debug >"$ROOT/build/native-debug.log" 2>&1) || fail "cmake --preset native-debug failed"

failed=0
for compiler in "$@"; do
  package=$compiler
  [[ $compiler != clang++-* ]] || package=clang-${compiler#clang++-}
  need "$compiler:$package"
  say "$compiler"
  if ! python3 - "$commands" "$compiler" "$JOBS" "$ROOT/src/" <<'PY'
import concurrent.futures, json, shlex, subprocess, sys
commands, compiler, jobs, sources = sys.argv[1:]
clang = "clang" in compiler
level = ["-O2", "-c", "-o", "/dev/null"] if compiler in ("g++-12", "clang++-19") else ["-fsyntax-only"]

def check(entry):
    words = shlex.split(entry["command"])
    kept, skip = [], False
    for word in words[next(i for i, w in enumerate(words) if w.startswith("-")):]:
        if skip: skip = False
        elif word in ("-o", "-c"): skip = word == "-o"
        elif word == "-Wno-uninitialized" and clang: pass  # for GCC's own headers
        elif not word.startswith("-fsanitize") and word != "-fno-sanitize-recover=all": kept.append(word)
    return entry["file"], subprocess.run([compiler, *kept, *level], cwd=entry["directory"], capture_output=True, text=True)

entries = [e for e in json.load(open(commands)) if e["file"].startswith(sources)]
with concurrent.futures.ThreadPoolExecutor(int(jobs)) as pool:
    bad = [(file, run) for file, run in pool.map(check, entries) if run.returncode or run.stderr]
for file, run in bad:
    print(file, run.stderr[:3000], sep="\n")
print(f"{len(entries)} files, {len(bad)} with a warning or an error")
sys.exit(1 if bad or not entries else 0)
PY
  then failed=1; fi
done
exit "$failed"
