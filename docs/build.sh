#!/usr/bin/env bash
# Builds the documentation site: docs/_build/html/index.html. A warning, such as a link that leads nowhere, is an error.
# docs/build.sh [--links | --clean]     --links also checks the links to other sites; --clean forgets the last build
# Sphinx is installed into docs/_build/env, which takes its other packages from the environment of local/path.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h|--help) sed -n '2,4s/^# //p' docs/build.sh; exit 0 ;;
  --links|"") ;;
  --clean) rm -rf docs/_build/source docs/_build/html docs/_build/doctrees ;;
  *) echo "error: unknown option $1; docs/build.sh --help lists them" >&2; exit 1 ;;
esac
. local/path.sh
env=docs/_build/env
wanted=$(cat requirements-docs.txt; command -v python)
if [ "$(cat $env/.wanted 2> /dev/null)" != "$wanted" ]; then
  echo "documentation: installing Sphinx into $env"
  rm -rf $env
  python -m venv --without-pip $env
  python -c 'import site; print(site.getsitepackages()[0])' > "$(echo $env/lib/python3*/site-packages)/packages.pth"
  python -m pip --python $env/bin/python install -q --disable-pip-version-check --no-deps -r requirements-docs.txt
  echo "$wanted" > $env/.wanted
fi
export PATH="$PWD/$env/bin:$PATH" PYTHONPATH="$PWD/docs:$PYTHONPATH" MPLBACKEND=agg
python -m sitemaker docs/_build/source
build() { # BUILDER; after an error all pages are read again the next time, since only pages that are read are checked. All are
  # written each time (-a), since a link of an unchanged page may be broken, or ambiguous, by a change in another one
  python -m sphinx -W --keep-going -a -n -q -j auto -c docs -d docs/_build/doctrees -b "$1" docs/_build/source "docs/_build/$1" ||
    { rm -rf docs/_build/doctrees; echo "error: the documentation has faults, which are listed above" >&2; exit 1; }
}
build html
[ "${1:-}" != --links ] || build linkcheck
echo "documentation: $PWD/docs/_build/html/index.html"
