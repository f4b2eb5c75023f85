# Sourced by local/env.sh: chooses Python, the set of packages, and the build of torch for the CPU or for a GPU.
#   set k2        on x86_64 with Python 3.11 and no NVIDIA GPU: torch 1.13.1 with k2
#   set current   everywhere else: a current torch; k2 is added if $LSTMP_K2_WHEELS has a wheel for it
# Without PYTHON=, the first of these that has a version from 3.10 to 3.14 and the venv module is used: python3.11 if it
# would give the set k2, then python3, python3.13, 3.12, 3.14, 3.11, 3.10.
# choose sets $python (the interpreter), $version, $set, $gpu (yes or no), $build (of torch: cpu, gpu, or "" in the set k2)
# and $libpython.
K2_PYTHON=3.11

# check_variables: an error if a variable has an impossible value; with PYTHON= it sets $python and $version.
check_variables() {
  python="" version="" problem=""
  case "${LSTMP_ENV:-}" in "" | k2 | current) ;; *) die "LSTMP_ENV=$LSTMP_ENV: no such set; there are k2 and current" ;; esac
  case "${LSTMP_GPU:-}" in "" | yes | no) ;; *) die "LSTMP_GPU=$LSTMP_GPU: neither yes nor no" ;; esac
  [ "${LSTMP_ENV:-}" != k2 ] || [ -z "${LSTMP_TORCH_INDEX:-}" ] ||
    die "LSTMP_TORCH_INDEX is for the set current, and LSTMP_ENV=k2 asks for the other; leave one of them out"
  [ -z "${PYTHON:-}" ] || probe "$PYTHON" ||
    die "PYTHON=$PYTHON: $problem; leave it out, name another one, or install one"$'\n'"$(python_hint)"
}

# has_gpu: whether this machine has an NVIDIA GPU; LSTMP_GPU=yes or no overrides.
has_gpu() {
  case "${LSTMP_GPU:-}" in
    "") [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1 ;;
    yes) true ;;
    *) false ;;
  esac
}

# probe COMMAND: sets $python and $version; if COMMAND is not suitable, it fails and $problem says why.
probe() {
  local said
  said="$("$1" -c '
import os, sys, sysconfig
name, free = sys.implementation.name, sysconfig.get_config_var("Py_GIL_DISABLED")
print("" if name == "cpython" else name + "-", "%d.%d" % sys.version_info[:2], "t" if free else "", sep="", end=" ")
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))  # in a virtual environment, the interpreter that made it
import venv, ensurepip
print("venv")' 2>/dev/null)" || true
  read -r version python <<<"$said" || true
  case "$version" in
    "") if command -v "$1" >/dev/null; then problem="does not run as Python"; else problem="not found"; fi; return 1 ;;
    3.10 | 3.11 | 3.12 | 3.13 | 3.14) ;;
    *) problem="is Python $version, not one from 3.10 to 3.14"; return 1 ;;
  esac
  case "$said" in *$'\nvenv') ;; *) problem="Python $version without its venv module"; return 1 ;; esac
}

# python_hint [3.11]: prints how to install a suitable Python, or this version, on this distribution and on any other.
python_hint() {
  local os how=""
  # shellcheck source=/dev/null # whatever the distribution has
  os="$(. "${LSTMP_OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "${ID:-} ${VERSION_ID:-} ${ID_LIKE:-} ")" || os=""
  case "${1:-} $os" in
    *" debian 12 "* | "3.11 ubuntu 22.04 "*) how="apt-get install python3.11 python3.11-venv libpython3.11" ;;
    3.11*) ;; # not in their packages, or not with a shared library
    *" debian 13 "*) how="apt-get install python3.13 python3.13-venv" ;;
    *" ubuntu 22.04 "*) how="apt-get install python3.10 python3.10-venv" ;;
    *" ubuntu 24.04 "*) how="apt-get install python3.12 python3.12-venv" ;;
    *" debian 1"[01]" "* | *" ubuntu 1"* | *" ubuntu 20."*) ;; # their Python is too old
    *" debian "* | *" ubuntu "*) how="apt-get install python3 python3-venv" ;;
    *" fedora "*" "*" rhel "* | *" rhel "* | *" centos "*) how="dnf install python3.12" ;;
    *" amzn 2023 "*) how="dnf install python3.11" ;;
    *" fedora "*) how="dnf install python3" ;;
    *" arch "*) how="pacman -S python" ;;
    *" opensuse-leap 15"*) how="zypper install python311" ;;
    *suse*) how="zypper install python313" ;;
  esac
  [ -z "$how" ] || echo "  on this distribution, as root: $how"
  echo "  on any: pip install uv (or pipx install uv); uv python install ${1:-3.12}; PYTHON=\"\$(uv python find ${1:-3.12})\" ./run.sh"
}

# find_libpython: sets $libpython to the folder of $python's own shared library, "" if the system finds it without help.
find_libpython() {
  local name=libpython$version.so.1.0
  loads() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }
  libpython=""
  loads "$name" && return
  libpython="$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR") or "")')"
  [ -n "$libpython" ] && loads "$libpython/$name" && return
  libpython=""
  return 1
}

# choose: applies the rule above; call check_variables first.
choose() {
  local asked="${LSTMP_ENV:-${LSTMP_TORCH_INDEX:+current}}" first="" none="" candidate rule=no
  if has_gpu; then gpu=yes; else gpu=no; fi
  if [ "$(uname -m)" = x86_64 ]; then
    case $asked-$gpu in k2-* | -no) rule=k2 first=python3.11 ;; esac
  elif [ "$asked" = k2 ]; then
    die "LSTMP_ENV=k2: k2 1.23.4 and torch 1.13.1 are for x86_64, and this is $(uname -m); leave it out"
  fi
  [ -n "$python" ] || for candidate in $first python3 python3.13 python3.12 python3.14 python3.11 python3.10; do
    probe "$candidate" && break
    [ "$problem" = "not found" ] || none="${none:- ($candidate: $problem)}"
    python=""
  done
  [ -n "$python" ] || die "no Python from 3.10 to 3.14 with its venv module is here$none; install one"$'\n'"$(python_hint)"

  set=current build=cpu libpython=""
  [ $gpu = no ] || build=gpu
  # shellcheck disable=SC2034 # local/env.sh reads $set and $build
  if [ $rule = k2 ] && [ "$version" = $K2_PYTHON ] && find_libpython; then set=k2 build=""
  elif [ "$asked" = k2 ] && [ "$version" = $K2_PYTHON ]; then
    die "LSTMP_ENV=k2: k2 needs libpython$K2_PYTHON.so.1.0, and $python has none; leave it out, or install one"$'\n'"$(python_hint $K2_PYTHON)"
  elif [ "$asked" = k2 ]; then
    die "LSTMP_ENV=k2: k2 1.23.4 needs Python $K2_PYTHON, and $python is $version; leave it out, or install that one"$'\n'"$(python_hint $K2_PYTHON)"
  elif [ $rule = k2 ] && [ "$version" = $K2_PYTHON ]; then
    say "the set \`current\`, as k2 needs libpython$K2_PYTHON.so.1.0, which $python has not (Debian: apt-get install libpython$K2_PYTHON)"
  fi
}
