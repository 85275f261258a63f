#!/usr/bin/env bash
# environment.sh FOLDER STEP...: makes a Python environment in FOLDER unless it is there already, and prints its python.
# Each STEP is a line of arguments for `pip install`; the STEP `runtime` is requirements.txt, on Linux x86-64 with the
# hash of each wheel. The environment is made anew when Python, a STEP or a file that a STEP names has changed. run.sh,
# check.sh and test.sh call this. PYTHON names the Python to use (3.11 or 3.12).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*" >&2; }

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' >/dev/null 2>&1 </dev/null
}

find_python() {
    local name names=(python3.11 python3.12 python3 python)
    [ -z "${PYTHON:-}" ] || names=("$PYTHON")
    for name in "${names[@]}"; do
        if suitable "$name"; then
            command -v "$name"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        say "PYTHON=$PYTHON is not a working Python 3.11 or 3.12."
    else
        say "Python 3.11 or 3.12 was not found: install one, or name it: PYTHON=/path/to/python3.11"
    fi
    return 1
}

# What the environment is made from.
fingerprint() {
    local word
    "$1" -VV
    shift
    # shellcheck disable=SC2048  # a step is several words
    for word in $*; do
        printf '%s\n' "$word"
        [ ! -f "$word" ] || cat "$word"
    done
}

# Most modules are never imported: Python compiles the others when it first meets them.
pip_install() {
    local folder=$1
    shift
    "$folder/bin/python" -m pip --disable-pip-version-check --no-input install --no-compile "$@"
}

make_environment() {
    local python=$1 folder=$2 log=$2/install.log step
    shift 2
    if [ -e "$folder" ] && [ ! -e "$folder/made-from" ]; then
        say "$folder was not made by this script: move it away first."
        return 1
    fi
    say "Making the Python environment in $folder with $python (once; a few minutes) ..."
    rm -rf "$folder"
    mkdir -p "$folder"
    : >"$folder/made-from"  # ours, unfinished
    if ! "$python" -m venv "$folder" >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        say "$python cannot make a virtual environment: install its venv module (Debian: python3-venv)."
        return 1
    fi
    for step in "$@"; do
        # shellcheck disable=SC2086  # a step is several words
        if ! pip_install "$folder" $step >>"$log" 2>&1 </dev/null; then
            tail -n 5 "$log" >&2
            say "pip install $step failed; the whole log is in $log"
            return 1
        fi
    done
    rm -f "$log"
}

folder=$1
shift
steps=()
for step in "$@"; do
    case "$step $(uname -sm)" in
        "runtime Linux x86_64") step="--no-deps --require-hashes -r requirements.hashes.txt" ;;
        "runtime "*) step="--no-deps -r requirements.txt" ;;
    esac
    steps+=("$step")
done
set -- "${steps[@]}"
python=$(find_python)
wanted=$(fingerprint "$python" "$@")
if [ "$wanted" != "$(cat "$folder/made-from" 2>/dev/null)" ]; then
    make_environment "$python" "$folder" "$@"
    printf '%s\n' "$wanted" >"$folder/made-from"
fi
printf '%s\n' "$(cd "$folder" && pwd)/bin/python"
