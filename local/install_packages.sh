# Sourced by local/env.sh: functions that install packages, among them torch and k2 for the set `current`.
# shellcheck disable=SC2154 # local/env.sh and local/choose_env.sh set the variables
UV=uv==0.13.9
log="$PWD/$VENV/install.log"
none='No matching distribution found|ResolutionImpossible' # the latter if pip has a constraint on the package
full='No space left on device|os error 28'
network='NewConnectionError|ConnectTimeout|ConnectionError|ReadTimeout|Max retries|Temporary failure|IncompleteRead'
network+='|ProxyError|Connection (broken|reset|refused)|error sending request|operation timed out'
in_venv() { LD_LIBRARY_PATH="$(cat "$VENV/.libpython")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$VENV/bin/python" "$@"; }
pip() { "$VENV/bin/python" -m pip "$1" --no-cache-dir --disable-pip-version-check "${@:2}" >"$log" 2>&1; }
install() { pip install --no-deps --progress-bar off "$@"; }

# why NAME: ends the script with the reason why NAME could not be installed.
why() {
  if grep -qE "$full" "$log"; then die "$PWD/$VENV: the disk is full; free some space and run again, finished packages are kept"; fi
  if grep -qiE "$network" "$log"
  then die "no connection to the package index while installing $1; check the network or pip's proxy settings and run again, finished packages are kept (details: $log)"; fi
  if grep -qE "$none" "$log"
  then die "$1 is not to be had from the package index for $(uname -sm); Linux with glibc on x86_64 or aarch64 and pip's own index settings are needed (details: $log)"; fi
  die "$1 could not be installed: $(grep -m1 -E '^ERROR|Error: ' "$log" || tail -n1 "$log") (details: $log)"
}

missing() { "$VENV/bin/python" local/missing_packages.py "${requirements[@]}"; }

# install_all PACKAGE...: installs all at once; if that fails, one by one, to find the one that fails.
install_all() {
  local package
  number=$((number + $#))
  say "[$number/$total] $*"
  printf '%s\n' "$@" > "$VENV/install.txt" # a file, because a line may have a hash
  install --force-reinstall -r "$VENV/install.txt" && return
  for package; do
    echo "$package" > "$VENV/install.txt"
    install --force-reinstall -r "$VENV/install.txt" || why "$package"
  done
}

# install_torch torch==X: installs the build for the CPU, or for this GPU's driver, from PyTorch's own index (by uv), from
# the index of the user's pip, or from LSTMP_TORCH_INDEX. If no such build can be had, $build becomes index, and pip installs
# torch with the other packages: its index has a single build, which depends on 3 GB of CUDA libraries.
install_torch() {
  local torch=$1 uv=("$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-cache) why_not
  say "torch ${torch#*==}, the build for the ${build^^}"
  if [ -n "${LSTMP_TORCH_INDEX:-}" ]; then
    install --index-url "$LSTMP_TORCH_INDEX" "$torch" || why "$torch of $LSTMP_TORCH_INDEX"
    return
  fi
  if [ "$build" = cpu ]; then
    ! install "$torch+cpu" || return 0
    grep -qE "$none" "$log" || why "$torch"
    uv+=(--no-deps --torch-backend=cpu)
  else
    uv+=(-c requirements.txt -c requirements-current.txt --torch-backend=auto)
  fi
  if [ "$build" = gpu ] && ! LSTMP_GPU="" has_gpu; then why_not="no driver here to choose by"
  elif ! install "$UV"; then why "$UV"
  elif "${uv[@]}" "$torch" >"$log" 2>&1; then
    pip uninstall -y uv
    return
  elif grep -qiE "$network" "$log"; then why_not="PyTorch's own index cannot be reached"
  elif grep -qE "$full" "$log"; then why "$torch"
  else why_not="$(grep -m1 -iE 'error|×' "$log" || tail -n1 "$log")"
  fi
  say "that build is not to be had: $why_not"
  say "taking the one of pip's index, large with its CUDA libraries of 3 GB; LSTMP_TORCH_INDEX=URL names another place"
  build=index
  record build index
  pip uninstall -y uv || true
  room "$ROOM_INDEX"
}

# install_k2 PLACE: installs the newest k2 of PLACE for the installed torch, whose version is in the names of the wheels:
# 1.24.4.dev20250715+cpu.torch2.7.1. k2 is optional, because our own search finds the same words. Sets $k2_answered to no if
# PLACE cannot be reached; the next run tries again.
install_k2() {
  local from=(--no-index --find-links "$1") fit k2
  find_libpython || true
  echo "$libpython" > "$VENV/.libpython"
  fit="$(in_venv -c 'import torch
print(f"cuda{torch.version.cuda}" if torch.version.cuda else "cpu", torch.__version__.split("+")[0], sep=".torch")')"
  pip index versions --pre "${from[@]}" k2 || true
  if grep -qiE "$network" "$log"; then k2_answered=no; else k2_answered=yes; fi
  k2="$(sed -n 's/^Available versions: //p' "$log" | tr -d ' ' | tr , '\n' | awk -F+ -v fit="$fit" '$2 == fit { print; exit }')"
  if [ $k2_answered = no ]; then say "going on without k2: $1 cannot be reached; run again to try it again"
  elif [ -z "$k2" ]; then say "going on without k2: $1 has none for $fit and Python $version"
  elif ! install "${from[@]}" "k2==$k2"; then say "going on without k2: $k2 could not be installed: $(tail -n1 "$log")"
  elif in_venv -c 'import k2' 2>"$log"; then say "k2 $k2"
  else
    say "going on without k2: $k2 does not load: $(tail -n1 "$log")"
    pip uninstall -y k2
  fi
}
