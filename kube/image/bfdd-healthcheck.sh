#!/bin/bash
# Health check of Kube-OVN 1.14 to 1.16: a daemon without sessions is not well, and is told the peers.
set -euo pipefail

status=$(bfdd-control status)
[[ ${status} == 'There are 0 sessions:'* ]] || exit 0
echo "${status}" >&2
IFS=, read -r -a peers <<< "${BFD_PEER_IPS:-}"
for peer in "${peers[@]}"; do
  bfdd-control allow "${peer}"
done
exit 1
