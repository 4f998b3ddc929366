"""``doctor`` against a KFP server and a Kubernetes API server of the tests."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.doctor import server as doctor_module
from copg_pipelines.doctor.doors import Door, command_of
from copg_pipelines.doctor.image import check_image
from copg_pipelines.doctor.kube import connect_cluster
from copg_pipelines.doctor.requirements import Requirements
from copg_pipelines.placement.config import ImageConfig

from tests.pipelines.command import Command, Outcome
from tests.pipelines.kfp_server import KfpServer
from tests.serving import JsonHandler, serving

ROOT = Path(__file__).parents[2]
NAMESPACE, CORE = "kubeflow", "/api/v1/namespaces/kubeflow"
IMAGE = "registry/copg@sha256:0"


def deployment(image: str, **environment: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "env": [{"name": n, "value": v} for n, v in environment.items()],
    }
    spec = {"containers": [container]}
    return {"spec": {"selector": {}, "template": {"spec": spec}}}


def patch(name: str) -> Any:
    """What a resource of upstream holds once ours was applied, as far as it is looked at."""
    found = yaml.safe_load((ROOT / f"manifests/workflow-controller/{name}-patch.yaml").read_text())
    if "spec" in found:
        found["spec"]["selector"] = {}
    return found


def named(*names: str) -> dict[str, Any]:
    return {"items": [{"metadata": {"name": name}, "spec": CRD} for name in names]}


CRD = {"group": "x", "names": {"kind": "X", "plural": "xs"}, "scope": "Namespaced", "versions": []}
SERVES = {"subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]}


@dataclass
class Kubernetes:
    """A healthy cluster, by path; a test breaks one part of it."""

    held: dict[str, Any] = field(
        default_factory=lambda: {
            "/version/": {
                "gitVersion": "v1.33.12",
                **dict.fromkeys(("major", "minor", "gitCommit", "gitTreeState", "buildDate"), "x"),
                **dict.fromkeys(("goVersion", "compiler", "platform"), "x"),
            },
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ml-pipeline": deployment(
                "ghcr.io/kubeflow/kfp-api-server:2.17.0"
            ),
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ml-pipeline-scheduledworkflow": deployment(
                "x"
            ),
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/workflow-controller": patch("deployment"),
            f"{CORE}/configmaps/workflow-controller-configmap": patch("retry"),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": named(
                "workflows.argoproj.io", "scheduledworkflows.kubeflow.org"
            ),
            "/apis/storage.k8s.io/v1/storageclasses": {
                "items": [
                    {
                        "metadata": {
                            "name": "standard",
                            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                        },
                        "provisioner": "x",
                    }
                ]
            },
            f"{CORE}/persistentvolumeclaims/copg-runs": {
                "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "500Gi"}}},
                "status": {"phase": "Bound"},
            },
            "/api/v1/nodes": {
                "items": [
                    {"status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "4"}}},
                    {"status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "2"}}},
                ]
            },
            f"{CORE}/secrets/copg-secrets": {"data": {"HF_TOKEN": "c2VjcmV0"}},
            f"{CORE}/serviceaccounts/copg-runner": {},
            f"{CORE}/endpoints/seaweedfs": SERVES,
            f"{CORE}/endpoints/copg-mlflow": SERVES,
        }
    )
    forbidden: tuple[str, ...] = ()
    pod: dict[str, Any] = field(default_factory=lambda: {"phase": "Succeeded"})
    """Status of the pod that pulls an image."""
    before: list[dict[str, Any]] = field(default_factory=list)
    """What it is at the first looks."""
    pods: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    """Doors that do not open, and why."""
    url: str = ""


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Iterator[Kubernetes]:
    cluster = Kubernetes()

    class Handler(JsonHandler):
        def _serve(self) -> None:
            path = self.path.partition("?")[0]
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if any(part in path for part in cluster.forbidden):
                self.say(403, {"reason": "Forbidden"})
            elif path == f"{CORE}/pods" and self.command == "POST":
                cluster.pods.append(json.loads(data))
                self.say(201, cluster.pods[-1])
            elif path.startswith(f"{CORE}/pods/") and self.command == "DELETE":
                cluster.deleted.append(path.rpartition("/")[2])
                self.say(200, {})
            elif path.endswith("/log"):
                command = cluster.pods[-1]["spec"]["containers"][0]["command"]
                names = [door.partition("|")[0] for door in command[3:]]
                lines = ["0.1.0", *(f"door|{name}|{cluster.faults.get(name, '')}" for name in names)]
                self.write(200, "\n".join(lines).encode(), "text/plain")
            elif path.startswith(f"{CORE}/pods/"):
                status = cluster.before.pop(0) if cluster.before else cluster.pod
                self.say(200, {"metadata": {}, "status": status})
            elif path in cluster.held:
                self.say(200, cluster.held[path])
            else:
                self.say(404, {"reason": "NotFound"})

        do_GET = do_POST = do_DELETE = _serve

    with serving(Handler) as url:
        cluster.url = url
        file = tmp_path / "kubeconfig"
        contexts = [
            {"name": name, "context": {"cluster": name, "user": "me"}} for name in ("here", "nowhere")
        ]
        addresses = {"here": url, "nowhere": "http://127.0.0.1:9"}
        clusters = [{"name": name, "cluster": {"server": address}} for name, address in addresses.items()]
        users = [{"name": "me", "user": {"token": "t0ken"}}]
        known = {"contexts": contexts, "clusters": clusters, "users": users, "current-context": "here"}
        file.write_text(yaml.safe_dump(known))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield cluster


def lines(outcome: Outcome, word: str) -> list[str]:
    assert "Traceback" not in outcome.error
    return [line[6:] for line in outcome.out.splitlines() if line.startswith(f"{word} ")]


def test_a_healthy_cluster_has_nothing_to_do(command: Command, kubernetes: Kubernetes) -> None:
    done = command("doctor", "--image", IMAGE)
    assert (done.code, lines(done, "todo")) == (0, []), done.out + done.error
    names = [re.match(r"(ok|note|todo) +([^:]+):", line)[2] for line in done.out.splitlines()]  # type: ignore[index]
    assert list(dict.fromkeys(names)) == [
        "server",
        "clock",
        "access",
        "kubernetes",
        "versions",
        "scheduler",
        "controller",
        "kinds",
        "storage",
        "claims",
        "gpus",
        "secrets",
        "account",
        "object store",
        "mlflow",
        "image",
        "doors",
    ]
    assert "versions: kfp 2.17.0 here, 2.17.0 on the server" in done.out
    assert "gpus: 6 of nvidia.com/gpu" in done.out
    assert "secrets: copg-secrets: HF_TOKEN" in done.out
    assert "c2VjcmV0" not in done.out
    assert f"image: {IMAGE} starts in kubeflow" in done.out


def test_the_pod_that_tries_an_image_is_restricted_and_deleted(
    command: Command, kubernetes: Kubernetes
) -> None:
    command("doctor", "--image", IMAGE)
    (pod,) = kubernetes.pods
    (container,) = pod["spec"]["containers"]
    assert container["image"] == IMAGE
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]
    assert kubernetes.deleted == [pod["metadata"]["name"]]
    kubernetes.pods.clear()
    assert "image: not pulled, and no door tried from a pod: name one with --image" in command("doctor").out
    assert kubernetes.pods == []


def test_a_controller_without_the_patches_is_told(command: Command, kubernetes: Kubernetes) -> None:
    done = command("doctor")
    assert "ok    controller: it follows runs of up to 1,468,006 bytes" in done.out
    assert "ok    controller: it tries lost pods again, and mistakes not" in done.out
    for path in kubernetes.held:
        if path.endswith("/deployments/workflow-controller"):
            kubernetes.held[path] = deployment("argoproj/workflow-controller")
        elif path.endswith("/workflow-controller-configmap"):
            kubernetes.held[path] = {"data": {"workflowDefaults": "spec: {}"}}
    large, lost = (each for each in lines(command("doctor"), "note") if each.startswith("controller: "))
    assert "above 1,048,576 bytes" in large
    assert large.count("deployment-patch.yaml") == lost.count("retry-patch.yaml") == 1


GONE = [
    ("deployments/ml-pipeline-scheduledworkflow", "scheduler", "no schedule will run"),
    ("persistentvolumeclaims/copg-runs", "claims", "copg-runs is not in kubeflow: kubectl apply -k"),
    ("serviceaccounts/copg-runner", "account", "copg-runner is not in kubeflow"),
    ("endpoints/seaweedfs", "object store", "no pod serves seaweedfs or minio-service"),
]


@pytest.mark.parametrize(("part", "name", "says"), GONE, ids=[name for _, name, _ in GONE])
def test_what_is_missing_is_told_with_what_to_do(
    command: Command, kubernetes: Kubernetes, part: str, name: str, says: str
) -> None:
    kubernetes.held = {path: value for path, value in kubernetes.held.items() if not path.endswith(part)}
    done = command("doctor")
    (found,) = lines(done, "todo")
    assert done.code == 1
    assert found.startswith(f"{name}: ")
    assert says in found


def test_kinds_that_are_missing_matter_where_the_recipe_needs_them(
    command: Command, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    optional = lines(command("doctor"), "note")
    assert any(line.startswith("kinds: trainjobs.trainer.kubeflow.org is not there") for line in optional)
    recipe = yaml.safe_load(command.recipe.read_text())
    recipe["placement"] = {
        "stages": {"train": {"gpu": {"count": 8}, "memory": {"limit": "64Gi"}, "shm": "8Gi", "queue": "copg"}}
    }
    (tmp_path / "gpus.yaml").write_text(yaml.safe_dump(recipe))
    done = command("doctor", "--recipe", str(tmp_path / "gpus.yaml"))
    found = lines(done, "todo")
    assert [line.partition(":")[0] for line in found] == ["kinds", "gpus"], done.out + done.error
    assert "localqueues.kueue.x-k8s.io is missing: a queue in the placement needs Kueue" in found[0]
    assert "a pod asks for 8 of nvidia.com/gpu and no node has more than 4" in found[1]
    kubernetes.held["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"] = named(
        "workflows.argoproj.io"
    )
    assert "scheduledworkflows.kubeflow.org is missing" in lines(command("doctor"), "todo")[0]


def test_another_version_of_the_server_is_told(command: Command, kubernetes: Kubernetes) -> None:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ml-pipeline"
    kubernetes.held[path] = deployment("ghcr.io/kubeflow/kfp-api-server:2.5.0@sha256:0")
    (found,) = lines(command("doctor"), "todo")
    assert found.startswith("versions: kfp 2.17.0 here and 2.5.0 on the server: install the same")


def test_a_server_that_tells_its_version_is_compared_without_the_cluster(
    command: Command, server: KfpServer
) -> None:
    assert (
        "note  versions: kfp 2.17.0 here; the server does not tell its own"
        in command("doctor", "--no-cluster").out
    )
    server.version = "unknown"  # what a build without a tag says, such as that of upstream's own image
    assert "pip install" not in command("doctor", "--no-cluster").out
    server.version = "2.17.3"
    for server.behind_ui in (False, True):
        said = command("doctor", "--no-cluster").out
        assert "ok    versions: kfp 2.17.0 here, 2.17.3 on the server" in said
    server.version = "2.15.0"
    (found,) = lines(command("doctor", "--no-cluster"), "todo")
    assert "pip install kfp==2.15.0" in found


def test_the_scheduler_s_time_zone_is_told(command: Command, kubernetes: Kubernetes) -> None:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ml-pipeline-scheduledworkflow"
    assert "scheduler: its clock is in UTC" in command("doctor").out
    kubernetes.held[path] = deployment("x", CRON_SCHEDULE_TIMEZONE="Europe/Paris")
    assert "in Europe/Paris; schedule with --server-time-zone Europe/Paris" in command("doctor").out


def test_storage_without_a_default_or_without_sharing_is_told(
    command: Command, kubernetes: Kubernetes
) -> None:
    (only,) = kubernetes.held["/apis/storage.k8s.io/v1/storageclasses"]["items"]
    only["metadata"]["annotations"] = {}
    claim = kubernetes.held[f"{CORE}/persistentvolumeclaims/copg-runs"]
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    done = command("doctor")
    assert lines(done, "todo")[0].startswith("storage: classes standard, none the default")
    assert "claims: copg-runs is ReadWriteOnce: all tasks have to share one node" in lines(done, "note")
    claim["status"]["phase"] = "Pending"
    assert "claims: copg-runs is Pending: it may wait for its first pod" in lines(command("doctor"), "note")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"phase": "Pending", "containerStatuses": "ErrImagePull"}, "cannot be pulled (ErrImagePull)"),
        ({"phase": "Failed"}, "was pulled but copg does not load in it"),
        ({"phase": "Pending"}, "did not start within 0.3 s (Pending)"),
    ],
)
def test_an_image_that_does_not_start_is_told(kubernetes: Kubernetes, status: Any, says: str) -> None:
    kubernetes.pod = waiting(status["containerStatuses"]) if "containerStatuses" in status else status
    (found,) = tried(start_s=0.3)
    assert found.startswith("todo")
    assert says in found
    assert len(kubernetes.deleted) == 1


def tried(**patience: float) -> list[str]:
    """What is found when the image is tried."""
    asked = Requirements(image=ImageConfig(name=IMAGE))
    return [finding.line() for finding in check_image(connect_cluster(""), asked, **patience)]


def waiting(reason: str) -> dict[str, Any]:
    container = {"name": "pull", "ready": False, "restartCount": 0, "image": "x", "imageID": ""}
    state = {"waiting": {"reason": reason}}
    return {"phase": "Pending", "containerStatuses": [{**container, "state": state}]}


def test_an_image_that_is_being_pulled_is_waited_for_longer_than_a_node(kubernetes: Kubernetes) -> None:
    # a look every 0.03 s: 20 looks take longer than the 0.3 s that a pod may wait for a node
    kubernetes.before = [{"phase": "Pending"}, *[waiting("ContainerCreating")] * 20]
    found, *_ = tried(start_s=0.3)
    assert kubernetes.before == []
    assert found == f"ok    image: {IMAGE} starts in kubeflow"
    kubernetes.pod = waiting("ContainerCreating")
    (found,) = tried(start_s=0.3, pull_s=0.5)
    assert found.startswith("todo")
    assert "did not start within 0.5 s (ContainerCreating)" in found


def placed(command: Command, folder: Path, **placement: Any) -> tuple[str, str]:
    """The option for a recipe of that placement."""
    recipe = {**yaml.safe_load(command.recipe.read_text()), "placement": placement}
    (folder / "placed.yaml").write_text(yaml.safe_dump(recipe))
    return "--recipe", str(folder / "placed.yaml")


def test_the_placement_s_image_is_tried_as_its_tasks_pull_it(
    command: Command, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    image = {"name": "registry/mine@sha256:1", "pull_policy": "Always", "pull_secrets": ["registry"]}
    options = placed(command, tmp_path, image=image)
    command("doctor", *options)
    command("doctor", *options, "--image", IMAGE)
    named, other = (pod["spec"] for pod in kubernetes.pods)
    assert named["containers"][0]["image"] == "registry/mine@sha256:1"
    assert other["containers"][0]["image"] == IMAGE
    for spec in (named, other):
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["containers"][0]["imagePullPolicy"] == "Always"


@pytest.mark.parametrize("optional", [True, False])
def test_a_secret_or_key_without_which_no_pod_starts_is_to_be_made(
    command: Command, kubernetes: Kubernetes, tmp_path: Path, optional: bool
) -> None:
    secrets = [
        {"name": "copg-secrets", "keys": ["HF_TOKEN", "AWS_ACCESS_KEY_ID"], "optional": optional},
        {"name": "mine", "keys": ["KEY"], "optional": optional},
    ]
    done = command("doctor", *placed(command, tmp_path, secrets=secrets))
    assert done.code == (0 if optional else 1)
    found = [line for line in lines(done, "todo") if line.startswith("secrets: ")]
    if optional:
        assert found == []
        assert "secrets: mine is not in kubeflow; it is optional" in done.out
        assert "secrets: copg-secrets: HF_TOKEN; without AWS_ACCESS_KEY_ID" in done.out
        return
    key, secret = found
    assert key.startswith("secrets: copg-secrets; without AWS_ACCESS_KEY_ID, and no pod starts without: ")
    assert secret.endswith("kubectl -n kubeflow create secret generic mine --from-literal=KEY=...")


@pytest.mark.parametrize(
    ("tracking", "word", "says"),
    [
        ("http://copg-mlflow:5000", "todo", "service copg-mlflow in kubeflow is not ready: kubectl apply -k"),
        ("https://mlflow.example", "note", "tracking is https://mlflow.example: not looked at from here"),
        ("", "note", "tracking is a file"),
    ],
)
def test_an_mlflow_that_is_not_ready_matters_to_recipes_that_use_it(
    command: Command, kubernetes: Kubernetes, tmp_path: Path, tracking: str, word: str, says: str
) -> None:
    del kubernetes.held[f"{CORE}/endpoints/copg-mlflow"]
    done = command("doctor", *placed(command, tmp_path, stores={"tracking": tracking}))
    (found,) = (line for line in lines(done, word) if line.startswith("mlflow: "))
    assert says in found


def test_what_one_may_not_read_is_a_note_and_the_rest_goes_on(
    command: Command, kubernetes: Kubernetes
) -> None:
    kubernetes.forbidden = ("customresourcedefinitions", "nodes")
    done = command("doctor")
    assert done.code == 0
    assert [line for line in lines(done, "note") if "cannot be looked at" in line] == [
        "kinds: cannot be looked at: you may not read it (403)",
        "gpus: cannot be looked at: you may not read it (403)",
    ]
    assert "mlflow: service copg-mlflow in kubeflow is ready" in lines(done, "ok")


def test_a_cluster_that_cannot_be_reached_is_told_and_may_be_left_out(
    command: Command, kubernetes: Kubernetes
) -> None:
    for words in (("--kube-context", "nowhere"), ("--kube-context", "unknown")):
        done = command("doctor", *words)
        (found,) = lines(done, "todo")
        assert found.startswith("kubernetes: ")
        assert found.endswith("name a context with --kube-context, or add --no-cluster")
    left_out = command("doctor", "--no-cluster")
    assert (left_out.code, "kubernetes" in left_out.out) == (0, False)


@pytest.mark.parametrize(
    ("wrong", "words", "says"),
    [
        ({"token": "right"}, (), "does not know who you are (401)"),
        ({"forbidden": True}, (), "forbids this (403)"),
        ({"broken": [("", 500, False)] * 500}, (), "answered 500: upstream connect error or disconnect"),
        (
            {"broken": [("", 0, False)] * 500},
            ("--request-timeout", "0.2", "--patience", "0.3"),
            "no answer within 0.2 s; gave up after 0.3 s",
        ),
    ],
    ids=["unknown", "forbidden", "broken", "silent"],
)
def test_a_server_that_does_not_answer_is_told_and_the_cluster_is_looked_at_all_the_same(
    command: Command,
    kubernetes: Kubernetes,
    server: KfpServer,
    wrong: dict[str, Any],
    words: tuple[str, ...],
    says: str,
) -> None:
    for name, value in wrong.items():
        setattr(server, name, value)
    done = command("doctor", *words)
    (found,) = lines(done, "todo")
    assert says in found
    assert "mlflow: service copg-mlflow in kubeflow is ready" in lines(done, "ok")


def test_clocks_that_are_apart_are_told(
    command: Command, kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=5)

    monkeypatch.setattr(doctor_module, "datetime", Late)
    (found,) = lines(command("doctor"), "todo")
    assert re.match(r"clock: this machine and the server are \+(299|30[0-2]) s apart: set both by NTP", found)


def opened(kubernetes: Kubernetes) -> list[tuple[str, ...]]:
    """The doors that the latest pod was told to try."""
    return [tuple(door.split("|")) for door in kubernetes.pods[-1]["spec"]["containers"][0]["command"][3:]]


def test_a_pod_of_ours_tries_the_five_doors_as_the_launcher_names_them(
    command: Command, kubernetes: Kubernetes
) -> None:
    done = command("doctor", "--image", IMAGE)
    assert opened(kubernetes) == [
        ("dns", "ml-pipeline.kubeflow.svc.cluster.local", "8887"),
        ("kubernetes api", "", ""),
        ("kfp api", "ml-pipeline.kubeflow.svc.cluster.local", "8887"),
        ("metadata", "metadata-grpc-service.kubeflow.svc.cluster.local", "8080"),
        ("object store", "seaweedfs.kubeflow", "9000"),
    ]
    assert sum(line.startswith("doors: ") for line in lines(done, "ok")) == 5
    metadata = kubernetes.pods[-1]["metadata"]
    assert metadata["labels"]["app.kubernetes.io/part-of"] == "copg"  # network policies select by it
    assert metadata["annotations"] == {"sidecar.istio.io/inject": "false"}  # a sidecar would never end


PROVIDERS = "s3: {default: {endpoint: minio.example:9000, disableSSL: true}}"


@pytest.mark.parametrize(
    ("launcher", "door"),
    [
        ({"defaultPipelineRoot": "s3://bucket/copg", "providers": PROVIDERS}, ("minio.example", "9000")),
        ({"defaultPipelineRoot": "s3://bucket/copg"}, ("s3.amazonaws.com", "443")),
        ({"defaultPipelineRoot": "gs://bucket/copg"}, ("storage.googleapis.com", "443")),
        ({"providers": "minio: {default: {endpoint: 'http://m.kubeflow'}}"}, ("m.kubeflow", "80")),
    ],
)
def test_the_door_of_the_object_store_is_the_launcher_s(
    command: Command, kubernetes: Kubernetes, launcher: dict[str, str], door: tuple[str, str]
) -> None:
    kubernetes.held[f"{CORE}/configmaps/kfp-launcher"] = {"data": launcher}
    command("doctor", "--image", IMAGE)
    assert opened(kubernetes)[4] == ("object store", *door)


@pytest.mark.parametrize(
    ("kind", "version", "door", "hint"),
    [
        ("ciliumidentities.cilium.io", "v1.33.12", "kubernetes api", "toEntities: [kube-apiserver]"),
        ("clusterversions.config.openshift.io", "v1.33.12", "dns", "openshift-dns at port 5353"),
        ("x.example", "v1.33.5-gke.100", "dns", "with Cloud DNS a GKE pod asks 169.254.169.254"),
        ("x.example", "v1.33.5-gke.100", "object store", "169.254.169.252:988"),
        ("x.example", "v1.33.12", "metadata", ""),
    ],
)
def test_a_door_that_does_not_open_is_told_with_what_is_known_of_the_platform(
    command: Command, kubernetes: Kubernetes, kind: str, version: str, door: str, hint: str
) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    kubernetes.held[crds] = named(kind, "workflows.argoproj.io", "scheduledworkflows.kubeflow.org")
    kubernetes.held["/version/"]["gitVersion"] = version
    kubernetes.faults[door] = "timed out"
    done = command("doctor", "--image", IMAGE)
    (found,) = lines(done, "todo")
    assert done.code == 1
    assert found.startswith(f"doors: {door}: a pod of ours cannot reach ")
    assert ": timed out; allow it in the NetworkPolicies of the namespace" in found
    assert hint in found
    assert ("read, not seen" in found) == bool(hint)
    assert kubernetes.deleted == [kubernetes.pods[-1]["metadata"]["name"]]


def test_the_script_of_the_pod_tells_open_closed_and_unknown_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(JsonHandler) as url:
        port = url.rpartition(":")[2]
        doors = [
            Door("dns", "localhost", "1"),
            Door("kubernetes api", "", ""),
            Door("kfp api", "127.0.0.1", port),
            Door("metadata", "127.0.0.1", "9"),
            Door("object store", "no such host.invalid", "9000"),
        ]
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        words = [sys.executable, *command_of(doors)[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    told = dict(line.split("|")[1:] for line in done.stdout.splitlines()[1:])
    assert [name for name, fault in told.items() if not fault] == ["dns", "kubernetes api", "kfp api"]
    assert "refused" in told["metadata"]
    assert told["object store"]
