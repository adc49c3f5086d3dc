#!/bin/bash
# Builds the image: docs/image.md, "Building". By `make image` and by the tests.
# IMAGE, BASE, ENGINE, SOURCE, PIP_CERT and GATEWAY are explained there.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-localhost/vegd:latest}
base=${BASE:-}
engine=${ENGINE:-}
store=.cache/image
suite=trixie

say() { echo "==> $*" >&2; }

local_buildah() {
  BUILDAH_ISOLATION=chroot TMPDIR=$PWD/$store/tmp \
    buildah --root "$PWD/$store/storage" --runroot "$PWD/$store/run" --storage-driver vfs "$@"
}

# A base of Debian's packages, as $store/base.tar and in the storage of local_buildah.
make_base() {
  mkdir -p $store/tmp
  if [ ! -e $store/base.tar ]; then
    say "making a base of Debian $suite by debootstrap, once"
    local root
    root=$(mktemp -d $store/tmp/base.XXXXXX)
    trap 'rm -rf "$root"' RETURN
    debootstrap --variant=minbase $suite "$root" >&2
    tar -C "$root" -c --exclude='./dev/*' --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
      --exclude='./var/log/*' --exclude=./etc/hostname --exclude=./etc/resolv.conf . >$store/base.tar.new
    mv $store/base.tar.new $store/base.tar
  fi
  local_buildah inspect --type image "$base" >/dev/null 2>&1 ||
    printf 'FROM scratch\nADD base.tar /\n' | local_buildah build --quiet --timestamp 0 -t "$base" -f - $store >/dev/null
}

if [ "$base" = debootstrap ]; then
  engine=local_buildah base=localhost/debian:$suite
  make_base
fi
for each in docker podman buildah; do
  if [ -z "$engine" ] && $each info >/dev/null 2>&1; then engine=$each; fi
done
if [ -z "$engine" ]; then
  echo "none of docker, podman, buildah answers: install one of them, or start docker's service" >&2
  exit 1
fi

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
arguments=(
  --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' vegd/__init__.py)"
  --build-arg "REVISION=${REVISION:-$(git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || true)}"
  --build-arg "SOURCE=${SOURCE:-}"
)
[ -z "$base" ] || arguments+=(--build-arg "BASE=$base")
[ -z "${PIP_CERT:-}" ] || arguments+=(--secret "id=ca,src=$PIP_CERT")
case $engine in
  docker) arguments+=(--build-arg "SOURCE_DATE_EPOCH=$epoch") ;;
  *) arguments+=(--timestamp "$epoch") ;;
esac
if [ -n "${GATEWAY:-}" ]; then
  arguments+=(--file kube/controller.Dockerfile --build-arg "GATEWAY=$GATEWAY")
fi
say "building $image with ${engine#local_}"
"$engine" build "${arguments[@]}" "$@" --tag "$image" .
say "built $image"
