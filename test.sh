#!/usr/bin/env bash
# test.sh [PYTEST ARGUMENT]...: makes the test environment in .venv-test (once) and runs the whole test suite.
# The test of the image (test/container) builds and runs it where a Docker engine answers, and skips with a reason
# elsewhere. Nothing is printed after pytest's own last line, and pytest's exit code is passed on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The lab first: with `--no-deps`, the runtime's lock then has the last word (see requirements.txt).
python=$(./environment.sh .venv-test "-c requirements.txt -r requirements-lab.txt" "--no-deps -r requirements.txt")
exec "$python" -m pytest "$@"
