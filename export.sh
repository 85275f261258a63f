#!/usr/bin/env bash
# export.sh: writes what is uploaded to dist/: the image $TAG (default spine, made by build.sh) as
# spine-VERSION.tar.gz, the model as model.tar.gz (the same bytes for the same model), what the image is made of as
# sbom.cdx.json (CycloneDX) with its licences as licences.csv, and SHA256SUMS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;; esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${TAG:-spine}

if ! docker image inspect "$tag" >/dev/null 2>&1; then
    echo "There is no image $tag here (or no Docker engine answers): run ./build.sh first, or name another as TAG." >&2
    exit 1
fi
architecture=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$tag")
if [ "$architecture" != linux/amd64 ]; then
    echo "$tag is for $architecture, and the platform runs linux/amd64: ./build.sh -- --platform linux/amd64" >&2
    exit 1
fi
mkdir -p dist
docker save "$tag" | gzip >"dist/spine-$version.tar.gz.part"
mv "dist/spine-$version.tar.gz.part" "dist/spine-$version.tar.gz"
tar -C model --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -cf - . \
    | gzip -n -9 >dist/model.tar.gz.part
mv dist/model.tar.gz.part dist/model.tar.gz
inside() { docker run --rm -i --network none --read-only --cap-drop ALL --entrypoint python "$tag" - "$@" <lab/sbom.py; }
inside >dist/sbom.cdx.json
inside --licences >dist/licences.csv
cd dist
sha256sum "spine-$version.tar.gz" model.tar.gz sbom.cdx.json licences.csv | tee SHA256SUMS
du -b "spine-$version.tar.gz" model.tar.gz | awk '{ printf "%s: %.1f MB\n", $2, $1 / 1e6 }'
