#!/usr/bin/env bash
# Which lines of src the native tests never run. usage: scripts/coverage.sh
# Runs the unit tests and the hostile inputs, then prints the share of lines that ran and, file by file, the lines that did not.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh" native
need gcov:gcc
cmake_build native-coverage bitmar_tests bitmar_hostile bitmar_cli
tree=$ROOT/build/native-coverage
find "$tree" -name '*.gcda' -delete
say "Unit tests, hostile inputs and the command line"
"$tree/tests/bitmar_tests" --gtest_brief=1
[[ -f $ROOT/build/hostile/table.json ]] || node "$ROOT/tests/hostile/make.mjs" "$ROOT/build/hostile"
"$tree/tests/bitmar_hostile" "$ROOT/build/hostile" | tail -n 1
"$tree/src/bitmar" info >/dev/null
"$tree/src/bitmar" caption "$ROOT/web/demo/public/samples/cat.jpg" --json >/dev/null
"$tree/src/bitmar" embed --text "a dog" >/dev/null
say "Lines of src that never ran"
python3 - "$tree" "$ROOT" <<'PY'
import gzip, json, pathlib, subprocess, sys, tempfile
tree, root = map(pathlib.Path, sys.argv[1:])
lines = {}  # file -> line -> times, of all its copies
with tempfile.TemporaryDirectory() as folder:
    for data in tree.rglob("*.gcda"):
        if "/src/" not in str(data): continue
        subprocess.run(["gcov", "--json-format", str(data)], cwd=folder, capture_output=True, check=True)
        for report in pathlib.Path(folder).glob("*.gcov.json.gz"):
            document = json.load(gzip.open(report))
            for file in document["files"]:
                path = (pathlib.Path(document["current_working_directory"]) / file["file"]).resolve()
                if root / "src" not in path.parents: continue
                seen = lines.setdefault(path.relative_to(root), {})
                for line in file["lines"]: seen[line["line_number"]] = max(seen.get(line["line_number"], 0), line["count"])
            report.unlink()
total = sum(map(len, lines.values()))
ran = sum(count > 0 for seen in lines.values() for count in seen.values())
for path, seen in sorted(lines.items()):
    never = [n for n, count in sorted(seen.items()) if not count]
    if never: print(f"{path}: {', '.join(map(str, never))}")
print(f"{ran} of {total} lines ran, {100 * ran / total:.1f} %")
PY
