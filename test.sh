#!/usr/bin/env bash
# Makes or completes the environment, then runs the tests.
# ./test.sh [--slow | --all] [options of pytest]     without --slow or --all, tests marked slow are skipped
# At the end it lists the skipped tests by reason; a reason that is not in tests/allowed_skips.txt is an error.
# Tests on real speech read the corpus pack at $LSTMP_CORPUS, or at ../shared/corpus if it exists; else they are skipped.
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
cores=$(nproc)  # before the next line: nproc returns OMP_NUM_THREADS if it is set
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the tests run in several processes, one per core
exec python -m pytest -n "$cores" --dist loadfile -q "${choice[@]}" "$@"
