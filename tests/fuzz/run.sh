#!/usr/bin/env bash
# Damages files of all formats and reads them: 10,000 damages, about half an hour; for a weekly run. Options: --help
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/../../local/path.sh"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export PYTHONPATH="$here/..:$PYTHONPATH"
exec python -m fuzz.fuzz "$@"
