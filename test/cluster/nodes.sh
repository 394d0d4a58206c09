# Sourced by up.sh and node.sh: what makes one node.
# shellcheck shell=bash

# A node is a network namespace on the bridge and a mount namespace with a /run of its own. In them run its containerd,
# its kubelet, its kube-proxy and what keeps its NetworkPolicies. The mount namespace lives as long as the process `machine-NODE` that holds it.

# node_start NODE: makes the parts of the node that are not there; containerd answers when it returns.
node_start() {
  local node=$1 folder
  folder=$(node_folder "$node")
  mkdir -p "$folder"/{containerd,kubelet,certs,pod-logs,plugins,cni}
  cgroup_create "$cgroup/$node"
  node_network "$node"
  node_write_configuration "$node"
  if ! alive "machine-$node"; then
    # Without its mount namespace nothing of the node can go on.
    cgroup_kill "$cgroup/$node"
    rm -f "$run"/{containerd,kubelet,kube-proxy,policies}-"$node".pid
    mkdir -p /var/lib/cni
    rm -f "$folder/machine-ready"
    ensure "machine-$node" "$node/machine" unshare --mount --propagation slave "$here/machine.sh" "$state/shared" "$shared_on_nodes" "$folder/machine-ready" "$bin/pause"
  fi
  wait_until 30 test -e "$folder/machine-ready" || { show_log "machine-$node"; fail "the mount namespace of $node was not made"; }
  if ! alive "containerd-$node"; then
    rm -f "$folder/containerd.sock"
    ensure "containerd-$node" "$node/containerd" "$here/enter.sh" "$node" containerd --config "$folder/containerd.toml"
  fi
  wait_until 30 ctr -a "$folder/containerd.sock" version || { show_log "containerd-$node"; fail "containerd of $node does not answer on $folder/containerd.sock"; }
}

# node_join NODE: starts what needs the API server, and connects the node to the network.
node_join() {
  local node=$1 folder
  folder=$(node_folder "$node")
  ip link set "$(node_link "$node")" up
  # A connection that the cut-off broke is found dead in seconds, not after 45.
  local quick=(env HTTP2_READ_IDLE_TIMEOUT_SECONDS=5 HTTP2_PING_TIMEOUT_SECONDS=3)
  ensure "kubelet-$node" "$node/kubelet" "${quick[@]}" "$here/enter.sh" "$node" "$bin/kubelet" --config "$folder/kubelet.yaml" \
    --kubeconfig "$pki/$node.conf" --root-dir "$folder/kubelet" --cert-dir "$folder/certs" --hostname-override "$node" --node-ip "$(node_address "$node")"
  ensure "kube-proxy-$node" "$node/kube-proxy" "${quick[@]}" "$here/enter.sh" "$node" "$bin/kube-proxy" --config "$folder/kube-proxy.yaml"
  ensure "policies-$node" "$node/policies" "${quick[@]}" "$here/enter.sh" "$node" "$bin/policies" --kubeconfig "$pki/policies.conf" --node "$node" --services "$service_network"
}

# node_await NODE TIME: returns when the node has been heard of since then and is Ready. One that stays silent is switched off and on.
node_await() {
  wait_until 30 node_was_heard_since "$1" "$2" && wait_until 30 node_is_ready "$1" && return
  say "$1 is silent: switching it off and on"
  node_power_off "$1" && node_start "$1" && node_join "$1"
  wait_until 90 node_was_heard_since "$1" "$2" && wait_until 30 node_is_ready "$1" && return
  show_log "kubelet-$1"
  fail "$1 is not Ready after 90 s"
}
now() { date -u +%FT%T.%6NZ; }

node_network() {
  local node=$1 namespace link other
  namespace=$(node_namespace "$node") link=$(node_link "$node")
  attach "$namespace" "$link" "$(node_address "$node")"
  for other in "${nodes[@]}"; do
    [ "$other" = "$node" ] || ip -n "$namespace" route replace "$(node_pods "$other")" via "$(node_address "$other")"
  done
  ip route replace "$(node_pods "$node")" via "$(node_address "$node")"
}

# attach NAMESPACE LINK ADDRESS: a namespace with one cable to the bridge, unless it is there.
attach() {
  local namespace=$1 link=$2 address=$3
  [ -e "/run/netns/$namespace" ] || ip netns add "$namespace"
  if ! ip link show "$link" >/dev/null 2>&1; then
    ip link add "$link" type veth peer name eth0 netns "$namespace"
    ip link set "$link" master "$bridge" up
  fi
  ip -n "$namespace" addr replace "$address/24" dev eth0
  ip -n "$namespace" link set lo up
  ip -n "$namespace" link set eth0 up
  ip -n "$namespace" route replace default via "$host_address"
  in_network "$namespace" sysctl -qw net.ipv4.ip_forward=1
}

node_write_configuration() {
  local node=$1 folder
  folder=$(node_folder "$node")
  write "$folder/cni/10-holdfast.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "holdfast-test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": "$(node_pods "$node")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
  # restrict_oom_score_adj: without it no sandbox starts where root may not lower a score.
  write "$folder/containerd.toml" <<EOF
version = 2
root = "$folder/containerd"
state = "/run/containerd"
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "holdfast.dev/pause:local"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$folder/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "$folder/opt"
EOF
  # nodeLeaseDurationSeconds: the lease is renewed every quarter of it, well within the grace period of 10 s.
  write "$folder/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/$node.crt
tlsPrivateKeyFile: $pki/$node.key
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup/$node
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
localStorageCapacityIsolation: false
evictionHard: {nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
containerRuntimeEndpoint: unix://$folder/containerd.sock
podLogsDir: $folder/pod-logs
volumePluginDir: $folder/plugins
resolvConf: $state/resolv.conf
clusterDomain: cluster.local
clusterDNS: [$host_address]
nodeLeaseDurationSeconds: 8
syncFrequency: 10s
EOF
  write "$folder/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/kube-proxy.conf}
clusterCIDR: $pod_network
hostnameOverride: $node
mode: nftables
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
}

# node_has_image NODE NAME
node_has_image() { [ -n "$(ctr -a "$(node_folder "$1")/containerd.sock" -n k8s.io images ls -q "name==$2")" ]; }
# node_load NODE ARCHIVE: imports every image of an oci-archive.
node_load() { ctr -a "$(node_folder "$1")/containerd.sock" -n k8s.io images import "$2"; }
