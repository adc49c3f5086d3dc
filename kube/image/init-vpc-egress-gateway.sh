#!/bin/sh
# The gateway is left where the main container of every version of Kube-OVN finds it.
exec vegd init --save "${VEGD_GATEWAY_FILE:-/usr/local/sbin/vegd-gateway.yaml}" "$@"
