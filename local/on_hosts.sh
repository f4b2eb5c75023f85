#!/usr/bin/env bash
# Starts a command on several machines by ssh, in this folder, which all must share, and waits for all. If one fails, the
# others are stopped. A launcher for run.sh:  ./run.sh --launcher "local/on_hosts.sh hosts.txt" --nnodes 2 ...
#
#   local/on_hosts.sh HOSTS COMMAND [ARGUMENTS]     HOSTS: a file with one host name per line, including this machine
#
# LSTMP_SSH is the command that reaches a host (ssh -o BatchMode=yes).
set -euo pipefail
case "${1:-}" in ""|-h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
hosts=$1
shift
[ -f "$hosts" ] || { echo "error: $hosts: no such file; write the names of the machines to it, one a line" >&2; exit 1; }
mapfile -t names < <(sed 's/#.*//' "$hosts" | awk 'NF { print $1 }')
[ "${#names[@]}" -gt 0 ] || { echo "error: $hosts: no machine in it; write their names to it, one a line" >&2; exit 1; }
settings=() pids=()
for name in ${!LSTMP_*} OMP_NUM_THREADS GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME; do
  [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
# A command must not outlive this script: it ends when its standard input is closed, a pipe that only this script holds open.
# shellcheck disable=SC2016  # the remote machine expands this
alive='exec 3<&0; "$@" < /dev/null 3<&- & c=$!; { cat <&3 > /dev/null; kill "$c" 2> /dev/null; } & w=$!; wait "$c"; s=$?; kill "$w" 2> /dev/null; exit "$s"'
pipe=$(mktemp -u)
mkfifo "$pipe"
exec 9<> "$pipe"
# shellcheck disable=SC2086  # a command with its options
for host in "${names[@]}"; do
  ${LSTMP_SSH:-ssh -o BatchMode=yes} "$host" "cd $(printf %q "$PWD") && exec env $(printf '%q ' "${settings[@]}" bash -c "$alive" bash "$@")" \
    < "$pipe" 9>&- &
  pids+=($!)
done
trap 'rm -f "$pipe"; kill "${pids[@]}" 2> /dev/null || true' EXIT
status=0
for _ in "${pids[@]}"; do
  wait -n || { status=$?; break; }
done
exit "$status"
