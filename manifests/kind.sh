#!/usr/bin/env bash
# A cluster of kind with KFP as upstream installs it, our image and our overlay: kind.sh up | test | down
set -euo pipefail
cd "$(dirname "$0")/.."
KIND_VERSION=v0.32.0
NODE=${NODE:-kindest/node:v1.33.12}
KFP=${KFP:-2.17.0}
NAME=${NAME:-copg}
IN_OVERLAY=localhost/copg:0.1.0 # as overlays/kind names it
IMAGE=${IMAGE:-$IN_OVERLAY}
ENGINE=${ENGINE:-docker}
CONTEXT=kind-$NAME
UPSTREAM=github.com/kubeflow/pipelines/manifests/kustomize
if [[ $ENGINE == podman ]]; then
    export KIND_EXPERIMENTAL_PROVIDER=podman
fi

need() {
    command -v "$1" >/dev/null || { echo "error: $1 is not installed: $2" >&2; exit 1; }
}

in_cluster() {
    kubectl --context "$CONTEXT" "$@"
}

up() {
    need kind "https://kind.sigs.k8s.io, $KIND_VERSION"
    need kubectl "https://kubernetes.io/docs/tasks/tools"
    need git "kubectl fetches KFP's manifests with it"
    need "$ENGINE" "kind needs docker or podman"
    kind version | grep -q "$KIND_VERSION" || echo "warning: written for kind $KIND_VERSION, found $(kind version)" >&2
    "$ENGINE" image inspect "$IMAGE" >/dev/null || { echo "error: no image $IMAGE: run make image" >&2; exit 1; }
    kind get clusters | grep -qx "$NAME" || kind create cluster --name "$NAME" --image "$NODE" --wait 5m

    mkdir -p build
    rm -f build/image.tar
    "$ENGINE" tag "$IMAGE" "$IN_OVERLAY"
    "$ENGINE" save -o build/image.tar "$IN_OVERLAY"
    kind load image-archive build/image.tar --name "$NAME"
    rm -f build/image.tar

    in_cluster apply -k "$UPSTREAM/cluster-scoped-resources?ref=$KFP"
    in_cluster wait crd/applications.app.k8s.io --for condition=established --timeout=60s
    in_cluster apply -k "$UPSTREAM/env/platform-agnostic?ref=$KFP"
    in_cluster apply -k manifests/overlays/kind
    in_cluster -n kubeflow patch configmap workflow-controller-configmap \
        --patch-file manifests/workflow-controller/retry-patch.yaml
    in_cluster -n kubeflow patch deployment workflow-controller \
        --patch-file manifests/workflow-controller/deployment-patch.yaml
    in_cluster -n kubeflow rollout restart deployment workflow-controller
    in_cluster -n kubeflow wait deployment --all --for condition=Available --timeout=20m
    in_cluster -n kubeflow wait pod/copg-volume --for condition=Ready --timeout=5m
    echo "ready: kubectl --context $CONTEXT -n kubeflow port-forward svc/ml-pipeline-ui 8888:80"
}

case ${1:-} in
    up) up ;;
    test) "${PYTHON:-python3}" -m pytest tests/cluster --kube-context "$CONTEXT" ;;
    down) kind delete cluster --name "$NAME" ;;
    *) echo "usage: $0 up|test|down" >&2; exit 2 ;;
esac
