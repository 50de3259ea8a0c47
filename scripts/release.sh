#!/usr/bin/env bash
# Makes a release of the packages, which carry one version number. Nothing is published.
#   scripts/release.sh prepare VERSION   writes the number wherever it stands, and the changelog's heading: review and commit that
#   scripts/release.sh                   builds, checks and packs what is committed into build/release, and tags it vVERSION
#   scripts/release.sh check             the same without the tag, whatever is committed
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
version_of() { node -p 'JSON.parse(fs.readFileSync(process.argv[1])).version' "$ROOT/web/$1/package.json"; }

prepare() {
  [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?$ ]] || fail "'$1' is no version: 1.2.3"
  node - "$ROOT" "$1" <<'JS'
const fs = require('node:fs');
const [root, version] = process.argv.slice(2);
// As text, so that nothing else about a file changes.
const replace = (file, pattern) => {
  const path = `${root}/${file}`;
  const before = fs.readFileSync(path, 'utf8');
  const after = before.replace(pattern, (_, start, end) => `${start}"${version}"${end}`);
  if (!pattern.test(before)) throw new Error(`${file} has no version where it should`);
  fs.writeFileSync(path, after);
};
for (const name of ['bitmar', 'bitmar-model']) {
  replace(`web/${name}/package.json`, /("version": )"[^"]*"()/);
  replace('package-lock.json', new RegExp(`("web/${name}": \\{\\s*(?:"name": "[^"]*",\\s*)?"version": )"[^"]*"()`));
}
replace('web/bitmar/package.json', /("bitmar-model": )"[^"]*"()/);
replace('package-lock.json', /("web\/bitmar": \{[^]*?"bitmar-model": )"[^"]*"()/);
const log = fs.readFileSync(`${root}/CHANGELOG.md`, 'utf8');
fs.writeFileSync(`${root}/CHANGELOG.md`, log.replace('\n## Unreleased\n', `\n## ${version}\n`));
JS
}

check() {
  local version problems=0
  version=$(version_of bitmar)
  grep -qxF "## $version" "$ROOT/CHANGELOG.md" || { echo "CHANGELOG.md has no heading '## $version'" >&2; problems=1; }
  ! grep -qx '## Unreleased' "$ROOT/CHANGELOG.md" || { echo "CHANGELOG.md has changes that no version has: scripts/release.sh prepare VERSION" >&2; problems=1; }
  ! git -C "$ROOT" rev-parse -q --verify "refs/tags/v$version" >/dev/null || { echo "v$version is tagged already" >&2; problems=1; }
  ((problems == 0)) || exit 1

  "$ROOT/scripts/build.sh" wasm package
  say "Checking the packages"
  # One version everywhere, publint, the tarballs' contents and sizes, and what a project that installs them gets.
  (cd "$ROOT" && node --test --test-reporter=spec tests/node/package.test.mjs tests/node/install.test.mjs)
  rm -rf "$ROOT/build/release"
  mkdir -p "$ROOT/build/release"
  for name in bitmar-model bitmar; do (cd "$ROOT/web/$name" && npm pack --silent --pack-destination "$ROOT/build/release"); done
}

case ${1:-tag} in
  prepare) prepare "${2:-}" ;;
  check) check ;;
  tag)
    [[ -z $(git -C "$ROOT" status --porcelain) ]] || fail "there is something that is not committed"
    check
    git -C "$ROOT" tag -a "v$(version_of bitmar)" -m "Version $(version_of bitmar)"
    say "Tagged v$(version_of bitmar). Publish build/release/*.tgz, the model first"
    ;;
  *) fail "unknown word '$1'; see the top of scripts/release.sh" ;;
esac
