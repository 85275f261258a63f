#!/usr/bin/env bash
# test.sh [PYTEST ARGUMENT]...: makes the test environment in .venv-test (once) and runs the whole test suite.
# The test of the image (test/container) builds and runs it where a Docker engine answers, and skips with a reason
# elsewhere. Nothing is printed after pytest's own last line, and pytest's exit code is passed on.
# test.sh --environment: makes the environment and prints its python, no more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lab="-c requirements.txt -r requirements-lab.txt"
python=$(./environment.sh .venv-test runtime "--no-deps -r requirements-evaluate.txt" "$lab")
if [ "${1:-}" = --environment ]; then
    echo "$python"
else
    exec "$python" -m pytest "$@"
fi
