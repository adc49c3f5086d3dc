#!/bin/bash
# Main container of Kube-OVN 1.14 to 1.16: the daemon, listening on each address of the pod.
set -euo pipefail

IFS=, read -r -a pod_ips <<< "${POD_IPS:?POD_IPS: missing, it lists the addresses of the pod}"
exec bfdd-beacon --nofork --tee "${pod_ips[@]/#/--listen=}"
