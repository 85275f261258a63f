#!/usr/bin/env bash
# run.sh [PATH] [FLAG OF process.py]...: makes the Python environment in .venv (once) and analyses one case.
#
#   ./run.sh                      the bundled synthetic case, into output/lumbar
#   ./run.sh scan.mha             an MHA, NIfTI or NRRD file, into output/scan
#   ./run.sh dicom/               a folder with one DICOM series, into output/dicom
#   ./run.sh case/                a folder in the platform's layout (inputs.json or images/), into output/case
#   ./run.sh scan.mha --t1 t1.mha --clinical record.json --runner cpu --output elsewhere
#
# Needs Python 3.11 or 3.12 (PYTHON=/path/to/python names it); the first start installs the packages of
# requirements.txt, on Linux x86-64 only those whose hashes are in requirements.hashes.txt. Research use only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;; esac

path=$here/test/input/lumbar
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    path=$1
    shift
fi
if [ ! -e "$path" ]; then
    echo "There is no $path: expected an MHA, NIfTI or NRRD file, a DICOM folder or a folder with inputs.json." >&2
    exit 2
fi
if [ -e "$path/inputs.json" ] || [ -d "$path/images" ]; then input=--input; else input=--image; fi

if [ -d "$path" ]; then
    name=$(basename "$(cd "$path" && pwd)")
else
    name=$(basename "$path" | sed -E 's/(\.nii)?\.[A-Za-z0-9]+$//')
fi

# The last --output wins, so that "$@" may name another folder. --progress also asks for the summary in three lines.
python=$("$here/environment.sh" .venv runtime)
exec "$python" "$here/process.py" "$input" "$path" --output "$here/output/$name" --progress "$@"
