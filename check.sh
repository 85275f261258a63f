#!/usr/bin/env bash
# check.sh [--static] [PYTEST ARGUMENT]...: everything that must hold before a commit: ruff, its formatter, mypy,
# the import rules, then the whole test suite (test.sh). --static leaves the tests out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=$(./test.sh --environment)
bin=$(dirname "$python")
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
"$bin/lint-imports"
[ "${1:-}" != --static ] || exit 0
exec ./test.sh "$@"
