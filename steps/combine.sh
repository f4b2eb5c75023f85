#!/usr/bin/env bash
# Combines the lattices of several systems: the words with the fewest expected errors under all of them.  steps/combine.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.combine "$@"
