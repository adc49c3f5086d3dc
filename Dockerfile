# The image of a gateway: docs/image.md. `make image` builds it.
ARG BASE=docker.io/library/debian:trixie-20260803-slim

# What a gateway runs on, in Debian's packages; all that can be said about a package but its licence is left out.
FROM ${BASE} AS system
RUN printf 'path-exclude=/usr/share/%s/*\n' doc doc-base info lintian locale man >/etc/dpkg/dpkg.cfg.d/vegd && \
    printf 'path-include=/usr/share/doc/*/copyright\nforce-unsafe-io\n' >>/etc/dpkg/dpkg.cfg.d/vegd && \
    apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends >/dev/null \
      bash ca-certificates curl iproute2 iputils-ping nftables python3 python3-nftables tini traceroute && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/log/*

# vegd, the Python packages it needs, and the launcher. Of this stage only /out is kept.
FROM system AS build
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends >/dev/null \
      gcc libc6-dev libcap2-bin python3-hatchling python3-pip
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_COMPILE=1 PIP_QUIET=2 PIP_ROOT=/out PIP_ROOT_USER_ACTION=ignore
COPY kube/requirements.txt /src/kube/
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    pip install --no-deps --ignore-installed --require-hashes --only-binary=:all: \
      --requirement=/src/kube/requirements.txt
COPY pyproject.toml README.md LICENSE-* /src/
COPY bfd /src/bfd
COPY dataplane /src/dataplane
COPY kube /src/kube
COPY vegd /src/vegd
RUN pip install --no-deps --no-build-isolation --no-index /src && \
    find /out/usr/local/bin -type f ! -name vegd -delete && \
    sed -i '1s,.*,#!/usr/local/bin/python3 -I,' /out/usr/local/bin/vegd
RUN gcc -std=gnu11 -Wall -Wextra -Werror -Os -s -o /out/usr/local/bin/python3 /src/kube/launcher.c && \
    setcap cap_net_admin,cap_net_bind_service,cap_net_raw=p /out/usr/local/bin/python3
RUN cp -r /src/kube/image /out/kube-ovn && \
    install -d -o 65534 -g 65534 /out/run/vegd /out/run/kube-ovn/bfdd-supervisor && \
    ln -s -t /out/usr/local/bin /kube-ovn/bfdd-beacon /kube-ovn/bfdd-control && \
    python3 -m compileall -q -f --invalidation-mode=unchecked-hash -s /out -o 0 /out/usr/local/lib

FROM system
COPY --from=build /out /
RUN python3 -m compileall -q -f --invalidation-mode=unchecked-hash -j 0 /usr/lib/python3 /usr/lib/python3.*
# Sockets and the engine's journal: in Kube-OVN's pods that is a volume, which outlives the container.
ENV VEGD_RUNTIME_DIR=/usr/local/sbin/vegd
ENV LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ARG VERSION
ARG SOURCE
ARG REVISION
LABEL org.opencontainers.image.title=vegd \
      org.opencontainers.image.description="VPC egress gateway daemon: native BFD, SNAT by nftables, reconciled continuously" \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.source=${SOURCE} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.licenses="Apache-2.0 OR GPL-2.0-or-later"
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["vegd", "--help"]
