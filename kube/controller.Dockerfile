# The image of `vegd controller`: that of a gateway, and what speaks to the API server and to OVN.
# `make controller-image` builds it: docs/image.md.
ARG GATEWAY=localhost/vegd:latest

FROM ${GATEWAY} AS build
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends >/dev/null python3-pip
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_COMPILE=1 PIP_QUIET=2 PIP_ROOT=/out PIP_ROOT_USER_ACTION=ignore
COPY kube/requirements-controller.txt /src/
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    pip install --no-deps --ignore-installed --require-hashes --only-binary=:all: \
      --requirement=/src/requirements-controller.txt && \
    rm -rf /out/usr/local/bin && \
    python3 -m compileall -q -f --invalidation-mode=unchecked-hash -s /out -o 0 /out/usr/local/lib

# The Python binding of OVSDB is Debian's: PyPI has it as a source only.
FROM ${GATEWAY}
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends >/dev/null python3-openvswitch && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* && \
    python3 -m compileall -q -f --invalidation-mode=unchecked-hash /usr/lib/python3/dist-packages
COPY --from=build /out /
LABEL org.opencontainers.image.title=vegd-controller
CMD ["vegd", "controller", "--help"]
