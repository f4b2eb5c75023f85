#!/usr/bin/env bash
# Runs a command in this checkout's environment. Launchers call it on each machine.  local/node.sh COMMAND [ARGUMENTS]
case "${1:-}" in ""|-h|--help) sed -n '2s/^# //p' "$0"; exit 0 ;; esac
. "$(dirname "$0")/path.sh"
exec "$@"
