# Sourced by up.sh: the cluster's own certificate authority, one certificate a component, kubeconfigs with them.
# shellcheck shell=bash

# One server certificate names the API server by every name it is called.
apiserver_names="IP:$host_address,IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"

pki_create() {
  local node
  [ -e "$pki/complete" ] && return
  mkdir -p "$pki"; chmod 700 "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 365 -subj /CN=holdfast-test-cluster \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
  openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
  openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
  issue etcd /CN=etcd IP:127.0.0.1 # the API server's too
  issue apiserver /CN=kube-apiserver "$apiserver_names"
  issue apiserver-to-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
  issue_for kube-controller-manager /CN=system:kube-controller-manager
  issue_for kube-scheduler /CN=system:kube-scheduler
  issue_for kube-proxy /CN=system:kube-proxy
  issue_for coredns /CN=holdfast:coredns
  issue_for policies /CN=holdfast:policies
  issue_for folder-provisioner /CN=holdfast:folder-provisioner
  for node in "${nodes[@]}"; do
    issue_for "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$(node_address "$node")"
  done
  issue_for admin /O=system:masters/CN=admin
  install -m 600 "$pki/admin.conf" "$state/admin.conf"
  touch "$pki/complete"
}

# issue NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
issue() {
  local name=$1 subject=$2 extensions='basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n'
  [ -z "${3-}" ] || extensions+="subjectAltName=$3\n"
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$name.key" -subj "$subject" -out "$pki/$name.csr" 2>/dev/null
  # shellcheck disable=SC2059
  openssl x509 -req -in "$pki/$name.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 365 -extfile <(printf "$extensions") -out "$pki/$name.crt" 2>/dev/null
  rm "$pki/$name.csr"
}

# issue_for: a certificate, and a kubeconfig that holds it and can be copied anywhere.
issue_for() {
  issue "$@"
  cat > "$pki/$1.conf" <<EOF
apiVersion: v1
kind: Config
clusters:
  - name: holdfast-test
    cluster: {server: "https://$host_address:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
  - name: $1
    user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}
contexts:
  - name: holdfast-test
    context: {cluster: holdfast-test, user: $1}
current-context: holdfast-test
EOF
  chmod 600 "$pki/$1.conf"
}
