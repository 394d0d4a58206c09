#!/usr/bin/env bash
# up.sh: brings up a Kubernetes of three nodes on this machine. Does what is missing: from nothing it installs packages and
# builds Kubernetes first; a cluster with dead or cut-off parts is repaired; one that is well is left alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$here/nodes.sh"
. "$here/pki.sh"
[ $# = 0 ] || fail 'usage: up.sh (HOLDFAST_CLUSTER_DIR: where its state lives, HOLDFAST_CACHE: what is kept between clusters)'
need_root
case $state in
  /run/* | /var/run/* | /proc/* | /sys/* | /var/log/* | /var/lib/cni/*) fail "the state cannot live in $state: nodes have a $(dirname "$state") of their own; set HOLDFAST_CLUSTER_DIR to another folder" ;;
  /*) ;;
  *) fail "HOLDFAST_CLUSTER_DIR must be an absolute path, not $state" ;;
esac

"$here/install-packages.sh" cluster
"$here/build.sh" | sed '$d'
built=$("$here/build.sh" --where)
pause_image=$("$here/image.sh" --pause)

one_at_a_time
other=$(cat "$active" 2>/dev/null || true)
if something_runs && [ -n "$other" ] && [ "$other" != "$state" ]; then
  fail "a cluster is up already, with its state in $other; take it down (HOLDFAST_CLUSTER_DIR=$other $here/down.sh), or use it"
fi

control_plane='etcd kube-apiserver kube-controller-manager kube-scheduler coredns folder-provisioner kube-proxy-client'
well() {
  local name node
  for name in $control_plane; do alive "$name" || return 1; done
  for node in "${nodes[@]}"; do node_is_whole "$node" && ! node_is_cut "$node" && node_is_ready "$node" || return 1; done
  kubectl get --raw /readyz >/dev/null 2>&1
}
how_to_use() {
  say "
Use it:
  export KUBECONFIG=$state/admin.conf PATH=$bin:\$PATH
  kubectl get nodes
Pods ($pod_network), Services ($service_network) and their names (DNS at $host_address) are reached from this machine.
Take it down: $here/down.sh"
}
if well; then say "The cluster is up and well (state in $state)."; how_to_use; exit; fi

if something_runs; then
  say "Repairing the cluster in $state."
else
  [ ! -e "$state/.holdfast-cluster" ] || say "Clearing away what a cluster that ended without down.sh left in $state."
  take_down || fail 'what an earlier cluster left cannot be cleared away'
  [ ! -d "$state" ] || [ -z "$(ls -A "$state")" ] || fail "$state is there and is no cluster's: empty it, or set HOLDFAST_CLUSTER_DIR to another folder"
  say "Starting a cluster of ${#nodes[@]} nodes; its state will be in $state."
fi
began=$SECONDS

mkdir -p "$run" "$state/shared" "$state/nodes"
chmod 755 "$state"
touch "$state/.holdfast-cluster"
printf '%s\n' "$state" > "$active"
ln -sfnT "$built" "$bin"
# Pods run as 65532, and hostPath volumes know no fsGroup.
install -d -m 777 -o 65532 -g 65532 "$state/shared/media"
pki_create
cgroup_create "$cgroup"

say '- network'
if ! ip link show "$bridge" >/dev/null 2>&1; then
  ip link add "$bridge" type bridge
fi
ip addr replace "$host_address/24" dev "$bridge"
ip link set "$bridge" up

say '- control plane'
etcd=https://127.0.0.1:23790
ensure etcd control etcd --data-dir "$state/etcd" --listen-client-urls "$etcd" --advertise-client-urls "$etcd" --listen-peer-urls http://127.0.0.1:23800 \
  --auto-compaction-retention=1h --logger=zap --client-cert-auth --trusted-ca-file "$pki/ca.crt" --cert-file "$pki/etcd.crt" --key-file "$pki/etcd.key"
wait_until 30 curl -sf --cacert "$pki/ca.crt" --cert "$pki/etcd.crt" --key "$pki/etcd.key" "$etcd/health" || { show_log etcd; fail 'etcd does not answer'; }
ensure kube-apiserver control "$bin/kube-apiserver" --etcd-servers="$etcd" --etcd-cafile="$pki/ca.crt" --etcd-certfile="$pki/etcd.crt" --etcd-keyfile="$pki/etcd.key" --bind-address="$host_address" --secure-port=6443 --advertise-address="$host_address" \
  --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-accounts.pub" --service-account-signing-key-file="$pki/service-accounts.key" \
  --service-cluster-ip-range="$service_network" --allow-privileged=true --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority="$pki/ca.crt" \
  --kubelet-client-certificate="$pki/apiserver-to-kubelet.crt" --kubelet-client-key="$pki/apiserver-to-kubelet.key" \
  --default-not-ready-toleration-seconds=10 --default-unreachable-toleration-seconds=10

say '- nodes'
# The API server takes a few seconds to begin; the nodes' containerds come up meanwhile.
if grep -qs '^nameserver' /etc/resolv.conf; then upstream='forward . /etc/resolv.conf'; else upstream=''; fi
printf 'nameserver %s\n' "$host_address" > "$state/resolv.conf"
for node in "${nodes[@]}"; do
  node_start "$node"
  node_has_image "$node" holdfast.dev/pause:local || node_load "$node" "$pause_image" >/dev/null || fail "the pause image cannot be loaded into $node"
done

wait_until 90 kubectl get --raw /readyz || { show_log kube-apiserver; fail 'the API server is not ready after 90 s'; }
kubectl apply -f "$here/system.yaml" > "$run/apply.log" 2>&1 || { cat "$run/apply.log" >&2; fail 'system.yaml was not accepted'; }

ensure kube-controller-manager control "$bin/kube-controller-manager" --kubeconfig="$pki/kube-controller-manager.conf" --bind-address=127.0.0.1 --leader-elect=false \
  --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials=true \
  --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" --allocate-node-cidrs=true --cluster-cidr="$pod_network" \
  --pvclaimbinder-sync-period=1s --node-monitor-period=2s --node-monitor-grace-period=10s --node-eviction-rate=1 --secondary-node-eviction-rate=1
ensure kube-scheduler control "$bin/kube-scheduler" --kubeconfig="$pki/kube-scheduler.conf" --bind-address=127.0.0.1 --leader-elect=false
ensure folder-provisioner control "$bin/folder-provisioner" --kubeconfig="$pki/folder-provisioner.conf" --host-folder="$state/shared" --node-folder="$shared_on_nodes"
write "$state/Corefile" <<EOF
.:53 {
  bind $host_address
  errors
  cache 2
  kubernetes cluster.local {
    kubeconfig $pki/coredns.conf holdfast-test
    pods insecure
    ttl 2
  }
  $upstream
}
EOF
ensure coredns control "$bin/coredns" -conf "$state/Corefile"

joined=$(now)
for node in "${nodes[@]}"; do node_join "$node"; done

# A namespace for clients outside the cluster. Its kube-proxy is what this machine reaches Services through, so they stay
# reachable whichever node is cut off. It borrows node1's name, because kube-proxy waits for a Node of its name.
attach "$client_namespace" hfvclient "$client_address"
for node in "${nodes[@]}"; do ip -n "$client_namespace" route replace "$(node_pods "$node")" via "$(node_address "$node")"; done
ip route replace "$service_network" via "$client_address"
sed 's/^hostnameOverride: .*/hostnameOverride: node1/' "$(node_folder node1)/kube-proxy.yaml" | write "$state/kube-proxy-client.yaml"
ensure kube-proxy-client control nsenter --net="/run/netns/$client_namespace" "$bin/kube-proxy" --config "$state/kube-proxy-client.yaml"

for node in "${nodes[@]}"; do node_await "$node" "$joined"; done
wait_until 30 kubectl -n default get serviceaccount default || { show_log kube-controller-manager; fail 'kube-controller-manager makes no service accounts'; }
well || fail "a part ended right after it was started; the logs are in $run"
say "The cluster is up ($((SECONDS - began)) s)."
for node in $(kubectl get nodes -o 'jsonpath={.items[?(@.spec.unschedulable)].metadata.name}'); do say "Note: $node is cordoned; kubectl uncordon $node"; done
how_to_use
