"""The patch of a task's pod as KFP's driver writes it: it stands in six nodes of a Workflow for each task.

What is known only when a run is there has the length that it had in runs of ours.
"""

import json
from collections.abc import Mapping
from typing import Any

from copg.stages.table import TABLE

URI = (
    "minio://mlpipeline/v2/artifacts/align/32cd7820-9ff8-4dea-b25c-c0c0e63de930/{}/"
    "49480710-c6cc-4bd2-af8d-e429af7e1ac1/{}"
)
"""Of an output: root, pipeline, run, task, salt, name."""
PLAN_BYTES = 140
"""Of a plan of ``resolve``: its digest, and a line for people."""
TRIAL_BYTES = 120
"""Of an item of a loop that only a run knows."""
METADATA = {
    "digest": "x" * 12,
    "display_name": "referenced",
    "rows": 1234,
    "schema": "referenced",
    "store_session_info": json.dumps(
        {
            "Provider": "minio",
            "Params": {
                "accessKeyKey": "accesskey",
                "disableSSL": "true",
                "endpoint": "seaweedfs.kubeflow:9000",
                "fromEnv": "false",
                "maxRetries": "5",
                "region": "minio",
                "secretKeyKey": "secretkey",
                "secretName": "mlpipeline-minio-artifact",
            },
        },
        separators=(",", ":"),
    ),
}
"""Of an artifact that comes from another task: what we say of it, and where the server says that it lies."""
LAUNCHER = """
/kfp-launcher/launch --executor_type container --pipeline_name align --run_id
32cd7820-9ff8-4dea-b25c-c0c0e63de930 --execution_id 12345 --executor_input --component_spec --pod_name
$(KFP_POD_NAME) --pod_uid $(KFP_POD_UID) --ml_pipeline_server_address ml-pipeline.kubeflow.svc.cluster.local
--ml_pipeline_server_port 8887 --mlmd_server_address metadata-grpc-service.kubeflow.svc.cluster.local
--mlmd_server_port 8080 --publish_logs true --ml_pipeline_tls_enabled=false --metadata_tls_enabled=false
--ca_cert_path '' --cache_disabled=false --log_level 1 --
""".split()  # noqa: SIM905 - words of a command
"""The launcher's command; two of its words are followed by the task's own."""
PLANS = {row.name for row in TABLE}
CHANNEL = "pipelinechannel--"


def typical_value(kind: str, name: str = "") -> Any:
    """A value of the length that one of this type has, where only a run knows it."""
    if kind == "STRUCT":
        return {"plan": "x" * (PLAN_BYTES if name in PLANS else TRIAL_BYTES)}
    if kind == "LIST":
        return [12345.0]
    return "x" * 24 if kind == "STRING" else 12345.0


class PodPatch:
    """Patches of a compiled DAG."""

    def __init__(self, spec: Mapping[str, Any], platform: Mapping[str, Any]) -> None:
        """Read what a pod is made of.

        Args:
            spec: the compiled DAG.
            platform: what Kubernetes is to give its tasks.
        """
        self.executors = spec.get("deploymentSpec", {}).get("executors", {})
        kubernetes = platform.get("platforms", {}).get("kubernetes", {})
        self.pods = kubernetes.get("deploymentSpec", {}).get("executors", {})

    def is_container(self, component: Mapping[str, Any]) -> bool:
        """Whether a pod runs it, and no importer."""
        return "container" in self.executors.get(component.get("executorLabel"), {})

    def labels(self, component: Mapping[str, Any]) -> Mapping[str, Any]:
        """Labels of its pods."""
        found: Mapping[str, Any] = self._pod(component).get("podMetadata", {})
        return found

    def described(self, component: Mapping[str, Any]) -> dict[str, Any]:
        """What a driver is given of a component: itself, its container, and its settings for Kubernetes."""
        container = self.executors.get(component.get("executorLabel"), {}).get("container", {})
        return {"component": component, "container": container, "kubernetes-config": self._pod(component)}

    def of(
        self,
        name: str,
        task: Mapping[str, Any],
        component: Any,
        given: Mapping[str, Any],
        loops: Mapping[str, int],
    ) -> str:
        """The patch of a task's pod.

        Args:
            name: of the task in its DAG.
            task: as it stands there.
            component: what it runs.
            given: parameters of the DAG it stands in, where they are known.
            loops: iterations of the loops beside it.
        """
        container, pod = self.executors[component["executorLabel"]]["container"], self._pod(component)
        mounts, secrets = pod.get("pvcMount", []), pod.get("secretAsVolume", [])
        command = [*LAUNCHER, _text(_executor_input(name, task, component, given, loops)), _text(component)]
        main = {
            "name": "main",
            "image": container["image"],
            "command": command,
            "args": [*container.get("command", []), *container.get("args", [])],
            "env": [*container.get("env", []), *_secrets(pod)],
            "resources": _resources(container),
            "volumeMounts": [
                {"name": each.get("constant"), "mountPath": each["mountPath"]}
                for each in pod.get("pvcMount", [])
            ],
            "securityContext": {"capabilities": {"drop": ["ALL"]}, **pod.get("securityContext", {})},
        }
        volumes = [
            {"name": each.get("constant"), "persistentVolumeClaim": {"claimName": each.get("constant")}}
            for each in mounts
        ]
        volumes += [
            {"name": each["secretName"], "secret": {"secretName": each["secretName"], "optional": True}}
            for each in secrets
        ]
        rest = {key: pod[key] for key in ("nodeSelector", "tolerations", "emptyDirMounts") if key in pod}
        return _text({"volumes": volumes, "containers": [main], **rest})

    def _pod(self, component: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.pods.get(component.get("executorLabel"), {})
        return found


def _executor_input(
    name: str,
    task: Mapping[str, Any],
    component: Mapping[str, Any],
    given: Mapping[str, Any],
    loops: Mapping[str, int],
) -> dict[str, Any]:
    takes, leaves = (component.get(f"{way}Definitions", {}) for way in ("input", "output"))
    taken = {
        port: [_artifact(port, name, known=True)] * loops.get(_producer(source), 1)
        for port, source in task.get("inputs", {}).get("artifacts", {}).items()
    }
    made = {port: [_artifact(port, name)] for port in (*leaves.get("artifacts", {}), "executor-logs")}
    told = {port: {"outputFile": f"/tmp/kfp/outputs/{port}"} for port in leaves.get("parameters", {})}
    return {
        "inputs": {
            "parameterValues": _values(task, takes.get("parameters", {}), given),
            "artifacts": {port: {"artifacts": each} for port, each in taken.items()},
        },
        "outputs": {
            "parameters": told,
            "artifacts": {port: {"artifacts": each} for port, each in made.items()},
            "outputFile": URI.format(name, "output_metadata.json"),
        },
    }


def _values(task: Mapping[str, Any], takes: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for port, source in task.get("inputs", {}).get("parameters", {}).items():
        above = source.get("componentInputParameter", "")
        known = source.get("runtimeValue", {}).get("constant", given.get(above))
        kind = takes.get(port, {}).get("parameterType", "STRING")
        origin = above or source.get("taskOutputParameter", {}).get("outputParameterKey", "")
        found[port] = typical_value(kind, origin.removeprefix(CHANNEL)) if known is None else known
    return found


def _producer(source: Mapping[str, Any]) -> str:
    return str(source.get("taskOutputArtifact", {}).get("producerTask", ""))


def _artifact(port: str, task: str, *, known: bool = False) -> dict[str, Any]:
    found = {"name": port, "type": {"schemaTitle": "system.Artifact"}, "uri": URI.format(task, port)}
    return found | ({"metadata": METADATA} if known else {})


def _secrets(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": each["envVar"],
            "valueFrom": {
                "secretKeyRef": {
                    "name": secret.get("secretName"),
                    "key": each["secretKey"],
                    "optional": secret.get("optional", False),
                }
            },
        }
        for secret in pod.get("secretAsEnv", [])
        for each in secret["keyToEnv"]
    ]


def _resources(container: Mapping[str, Any]) -> dict[str, Any]:
    resources = container.get("resources", {})
    return {name: each for name, each in resources.items() if name.startswith("resource")}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
