#!/usr/bin/env bash
# Runs the tests, after making or completing the environment.
# ./test.sh [--slow | --all] [options of pytest]     without --slow or --all, tests marked slow are left out
# At the end, the tests that were skipped, by reason; one that tests/allowed_skips.txt does not have is an error.
# Tests on real speech read the corpus pack at $LSTMP_CORPUS, or at ../shared/corpus if that is there; else they are skipped.
set -euo pipefail
cd "$(dirname "$0")"
case "${1:-}" in
  -h|--help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
  --slow) shift; choice=(-m slow) ;;
  --all) shift; choice=() ;;
  *) choice=(-m "not slow") ;;
esac
[ -n "${LSTMP_PYTHON:-}" ] || local/env.sh --test
. local/path.sh
if [ -z "${LSTMP_CORPUS:-}" ] && [ -d ../shared/corpus/LibriSpeech ]; then
  LSTMP_CORPUS="$(cd ../shared/corpus && pwd)"
fi
export LSTMP_CORPUS="${LSTMP_CORPUS:-}"
[ -n "$LSTMP_CORPUS" ] || echo "tests on real speech are skipped: set LSTMP_CORPUS to the folder of the corpus pack"
cores=$(nproc)  # asked first: nproc takes OMP_NUM_THREADS for its answer
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the tests run in several processes, one a core
exec python -m pytest -n "$cores" --dist loadfile -q "${choice[@]}" "$@"
