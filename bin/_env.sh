# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# Sourced by bin/demo, bin/test, bin/lint, bin/bench and bin/lifeboat: finds a Python, the newest from 3.11 to 3.14 that really runs,
# and hands over to bin/_setup.py, which makes the environment and then becomes the command.
#
# LIFEBOAT_PYTHON names one Python to use; LIFEBOAT_CACHE another place than .cache of the checkout.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say_and_stop() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  exit 1
}

# Every Python worth a try, the newest first, a line each. pyenv keeps versions that are not on PATH, and puts shims
# there that fail when run: so candidates are only a list of tries.
python_candidates() {
  local minor
  for minor in 14 13 12 11; do
    type -ap "python3.$minor" || true
    ls -d "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}/versions/3.$minor".*/bin/"python3.$minor" 2>/dev/null || true
  done
  type -ap python3 || true
}

# Prints "MINOR yes|no PATH" when the candidate runs and is from 3.11 to 3.14; yes: it can make virtual environments.
# Debian splits ensurepip off, so that `venv` alone imports and then fails half-way.
try_python() {
  "$1" -I -c '
import sys
from importlib.util import find_spec
if sys.version_info[0] != 3 or not 11 <= sys.version_info[1] <= 14:
    sys.exit(1)
print(sys.version_info[1], "yes" if find_spec("venv") and find_spec("ensurepip") else "no", sys.executable)
' 2>/dev/null
}

# Prints the path of the Python to use, or says in one sentence why there is none.
choose_python() {
  local candidate found minor able path without_venv=""
  while read -r candidate; do
    found=$(try_python "$candidate" </dev/null) || continue
    read -r minor able path <<<"$found"
    if [ "$able" = yes ]; then
      printf '%s\n' "$path"
      return
    fi
    without_venv=${without_venv:-3.$minor}
  done < <(if [ -n "${LIFEBOAT_PYTHON:-}" ]; then type -ap "$LIFEBOAT_PYTHON" || true; else python_candidates; fi)
  if [ -n "$without_venv" ]; then
    say_and_stop "Python $without_venv is here but cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install python$without_venv-venv)."
  elif [ -n "${LIFEBOAT_PYTHON:-}" ]; then
    say_and_stop "LIFEBOAT_PYTHON=$LIFEBOAT_PYTHON is not a Python from 3.11 to 3.14 that runs."
  else
    say_and_stop "Python 3.11, 3.12, 3.13 or 3.14 is needed and none was found: install one (Debian and Ubuntu: apt install python3 python3-venv) or name it in LIFEBOAT_PYTHON."
  fi
}

# run_in [--store|--here] ENVIRONMENT COMMAND…: becomes the command, with the collection installed and the environment's
# programs on PATH; with --store also an S3 store for tests; with --here in the folder that one is in, not the checkout's.
run_in() {
  local python
  python=$(choose_python)
  exec "$python" -I "$checkout/bin/_setup.py" "$@"
}
