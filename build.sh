#!/usr/bin/env bash
# build.sh [-- ARGUMENT OF docker build]...: builds the image $TAG (default spine) in the form $API (default
# exec; or invoke, a server). Later arguments go to `docker build`, for example
#     ./build.sh -- --build-arg BASE=python:3.11-slim-bookworm@sha256:...
#     API=invoke TAG=spine:serve ./build.sh -- --network host
#     TAG=spine:gpu ./build.sh -- --build-arg REQUIREMENTS=requirements-gpu.txt      for an NVIDIA GPU; never tried on one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;; --) shift ;; esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${TAG:-spine}
api=${API:-exec}
case "$api" in exec | invoke) ;; *) echo "API=$api is not exec or invoke." >&2; exit 2 ;; esac

docker build --build-arg "API=$api" --label "org.opencontainers.image.version=$version" \
    --label org.opencontainers.image.licenses=Apache-2.0 --tag "$tag" "$@" .
docker image inspect --format '{{.Size}}' "$tag" | awk -v tag="$tag" -v api="$api" '{ printf "%s (%s): %.0f MB\n", tag, api, $1 / 1e6 }'
