#!/usr/bin/env bash
# cluster.check.sh: does the test cluster do what tests rely on? Brings it up, runs pods, Services, volumes, drains, cuts
# off and kills nodes, breaks parts of it, takes it down, and asserts that nothing is left. About 2 minutes, as root.
# It uses a cluster of its own and so refuses to run while one is up.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
need_root
export HOLDFAST_CLUSTER_DIR=${HOLDFAST_CLUSTER_DIR:-/var/lib/holdfast-cluster-check}
! something_runs || fail "a cluster is up (state in $state); take it down first: $here/down.sh"
. "$here/lib.sh" # the paths follow from HOLDFAST_CLUSTER_DIR
export KUBECONFIG=$state/admin.conf

passed=0 failed=0
check() { # check WHAT COMMAND...
  local what=$1 began=$SECONDS output; shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1)); say "ok      $what ($((SECONDS - began)) s)"
  else
    failed=$((failed + 1)); say "FAILED  $what ($((SECONDS - began)) s)"; printf '%s\n' "$output" | tail -n 20 | sed 's/^/        /'
  fi
}
finish() {
  "$here/down.sh" >/dev/null 2>&1
  rm -rf "$work"
  say ''
  say "$passed passed, $failed failed"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ] || exit 1
}
work=$(mktemp -d)
trap finish EXIT
trap 'exit 130' INT TERM

available() { [ "$(kubectl get deployment web -o 'jsonpath={.status.availableReplicas}')" = "$1" ]; }
node_of_first() { kubectl get pods -l app=web --field-selector=status.phase=Running -o 'jsonpath={.items[0].spec.nodeName}'; }
none_serve_on() { kubectl get endpointslices -l kubernetes.io/service-name=web -o json | jq -e --arg node "$1" '[.items[].endpoints[] | select(.conditions.ready) | .nodeName] | length == 2 and all(. != $node)'; }
ask_service() { timeout 3 bash -c "exec 3<> /dev/tcp/$1/80; cat <&3"; }
# Every pod answers with its name: asks until two different ones have.
both_answer() { local deadline=$((SECONDS + 20)); until [ "$(for _ in 1 2 3 4 5 6; do ask_service "$1"; done | sort -u | wc -l)" -ge 2 ]; do [ $SECONDS -lt $deadline ] || return 1; done; }
root_is_refused() { [[ $(kubectl run root --image=holdfast.dev/base:bookworm --image-pull-policy=Never --restart=Never -- true 2>&1) == *'violates PodSecurity'* ]]; }

resources() {
  cat <<'EOF'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      securityContext:
        {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}, sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "445"}]}
      initContainers:
        - name: sidecar
          image: holdfast.dev/base:bookworm
          imagePullPolicy: Never
          restartPolicy: Always
          command: [sleep, infinity]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      containers:
        - name: web
          image: holdfast.dev/base:bookworm
          imagePullPolicy: Never
          command: [perl, -MIO::Socket, -e, '$| = 1; print "listening\n"; $s = IO::Socket::INET->new(LocalPort => 445, Listen => 9, ReuseAddr => 1) or die $!; while ($c = $s->accept) { print $c "$ENV{HOSTNAME}\n"; close $c }']
          readinessProbe: {tcpSocket: {port: 445}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          resources: {requests: {memory: 16Mi}, limits: {memory: 64Mi}}
          volumeMounts: [{name: media, mountPath: /media}, {name: claimed, mountPath: /claimed}]
      volumes:
        - {name: media, persistentVolumeClaim: {claimName: media}}
        - {name: claimed, persistentVolumeClaim: {claimName: claimed}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claimed}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 445}]}
EOF
}

check 'comes up' "$here/up.sh"
kubectl get nodes >/dev/null || exit 1
check 'a second up.sh finds it well' bash -c "'$here/up.sh' | grep 'up and well'"
check 'only its certificate authority is trusted' bash -c "! curl -sf https://$host_address:6443/readyz && curl -sf --cacert '$pki/ca.crt' https://$host_address:6443/readyz"
check 'etcd refuses who has no certificate' bash -c "! curl -sfk https://127.0.0.1:23790/version && ! curl -sf http://127.0.0.1:23790/version"
check 'nobody without a name may read' bash -c "curl -s --cacert '$pki/ca.crt' https://$host_address:6443/api/v1/pods | grep '\"code\": 403'"
check 'helm speaks to it' "$bin/helm" list -A
check 'an image is loaded into every node' "$here/load-image.sh" "$("$here/image.sh" --base)"

kubectl label namespace default pod-security.kubernetes.io/enforce=restricted >/dev/null
kubectl apply -f "$here/volume.yaml" >/dev/null
resources | kubectl apply -f - >/dev/null
check 'two restricted pods with a native sidecar and two RWX volumes are available' wait_until 60 available 2
check 'a pod that wants root is refused' root_is_refused
first=$(kubectl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}') second=$(kubectl get pods -l app=web -o 'jsonpath={.items[1].metadata.name}')
check 'logs of a pod' bash -c "[ \"\$('$bin/kubectl' logs $first -c web)\" = listening ]"
check 'what one pod writes another reads, on both volumes' bash -c "'$bin/kubectl' exec $first -c web -- sh -c 'echo a > /media/x; echo b > /claimed/y' && [ \"\$('$bin/kubectl' exec $second -c web -- cat /media/x /claimed/y)\" = $'a\nb' ]"
check 'a pod resolves the Service by its name and reaches it' bash -c "'$bin/kubectl' exec $first -c web -- perl -MIO::Socket -e 'print IO::Socket::INET->new(q(web.default.svc.cluster.local:80))->getline' | grep web-"
service=$(kubectl get service web -o 'jsonpath={.spec.clusterIP}')
check 'this machine reaches both pods through the Service' both_answer "$service"
check 'a client namespace reaches them too' in_network "$client_namespace" bash -c "exec 3<> /dev/tcp/$service/80; grep web- <&3"
cat > "$work/commands" <<EOF
nslookup web.default.svc.cluster.local
nc -w 5 web.default.svc.cluster.local 80 < /dev/null | grep web-
grep cifs /proc/filesystems
EOF
check 'so does a Linux machine, with cifs in its kernel' "$here/linux-client/linux-client.sh" "$work/commands"
echo 'exit 7' > "$work/commands"
check 'and the status of its commands comes back' bash -c "'$here/linux-client/linux-client.sh' '$work/commands'; [ \$? = 7 ]"

check 'a process of a pod is killed from outside, and its container starts again' bash -c "kill -KILL \$('$here/node.sh' pid $first web)"
check 'within seconds' wait_until 20 bash -c "[ \"\$('$bin/kubectl' get pod $first -o 'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}')\" = '1 true' ]"

node=$(node_of_first)
check "drain $node" kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout=60s
check "its pods run elsewhere" wait_until 30 available 2
check "none serves on $node" wait_until 10 none_serve_on "$node"
kubectl uncordon "$node" >/dev/null

node=$(node_of_first)
check "cut $node off" "$here/node.sh" cut "$node"
check 'it is found NotReady' wait_until 20 bash -c "[ \"\$('$bin/kubectl' get node $node -o 'jsonpath={.status.conditions[?(@.type==\"Ready\")].status}')\" = Unknown ]"
check 'its pod is replaced' wait_until 40 bash -c "'$bin/kubectl' get pods -l app=web -o json | jq -e --arg node $node '[.items[] | select(.metadata.deletionTimestamp == null and .spec.nodeName != \$node and .status.phase == \"Running\")] | length == 2'"
check 'the Service answers all the time' bash -c "for _ in 1 2 3 4 5 6; do timeout 3 bash -c 'exec 3<> /dev/tcp/$service/80; grep web- <&3' || exit 1; done"
check "join $node" "$here/node.sh" join "$node"
check 'its old pod ends' wait_until 60 bash -c "[ \"\$('$bin/kubectl' get pods -l app=web --no-headers | wc -l)\" = 2 ]"

node=$(node_of_first)
processes=$(cgroup_processes "$cgroup/$node" | wc -l)
check "kill $node ($processes processes)" "$here/node.sh" kill "$node"
check 'no process of it is left' bash -c "[ -z \"\$(find /sys/fs/cgroup -path '*/$cgroup/$node/*' -name cgroup.procs -exec cat {} +)\" ]"
check "join $node" "$here/node.sh" join "$node"
check 'two pods are available' wait_until 60 available 2
check 'both answer' both_answer "$service"

for part in kube-apiserver kube-controller-manager kubelet-node1 containerd-node2 kube-proxy-node3 policies-node1 machine-node3; do kill -KILL "$(cat "$run/$part.pid")"; done
check 'up.sh repairs a cluster with six dead parts' "$here/up.sh"
check 'two pods are available again' wait_until 90 available 2
check 'both answer' both_answer "$service"

kubectl delete deployment web --cascade=foreground >/dev/null
kubectl delete pvc claimed >/dev/null
check 'the folder of a deleted claim goes' wait_until 20 bash -c "[ \"\$(ls '$state/shared')\" = media ]"

check 'down' "$here/down.sh"
check 'nothing is left' "$here/leftovers.sh"
check 'down again' "$here/down.sh"

check 'comes up again' "$here/up.sh"
# A reboot leaves the state and nothing else.
cgroup_kill "$cgroup"
for name in "${nodes[@]/#/hf-}" "$client_namespace"; do ip netns del "$name"; done
ip link del "$bridge"; rm -f "$active"
check 'comes up after a reboot' "$here/up.sh"
check 'down from there' "$here/down.sh"

"$here/up.sh" >/dev/null 2>&1 & upping=$!
wait_until 60 test -e "$run/containerd-node2.pid"
kill -KILL "$upping"; wait "$upping" 2>/dev/null
for part in etcd machine-node1; do kill -KILL "$(cat "$run/$part.pid")"; done
check 'down after up.sh was killed half way' "$here/down.sh"
check 'nothing is left of that' "$here/leftovers.sh"
