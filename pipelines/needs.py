"""What a recipe's placement asks of a cluster."""

from pathlib import Path

from pipelines.kube import Needs


def needs_of(recipe: Path | None, kfp_namespace: str, namespace: str, image: str) -> Needs:
    """For ``doctor``: of a recipe, or of any.

    Args:
        recipe: its file; None: what every recipe needs.
        kfp_namespace: where KFP is installed.
        namespace: where the tasks run.
        image: to pull for a try; empty: none, since not everybody may start pods.
    """
    if recipe is None:
        return Needs(kfp_namespace=kfp_namespace, namespace=namespace, image=image)
    from copg.recipe import load_recipe
    from pipelines.placement_config import parse_placement

    placement = parse_placement(load_recipe(recipe).placement)
    pods = [placement.defaults, *placement.stages.values()]
    gpus: dict[str, int] = {}
    for pod in pods:
        if pod.gpu.count:
            gpus[pod.gpu.type] = max(gpus.get(pod.gpu.type, 0), pod.gpu.count)
    return Needs(
        kfp_namespace=kfp_namespace,
        namespace=namespace,
        image=image,
        gpus=gpus,
        secrets={secret.name: tuple(secret.keys) for secret in placement.secrets},
        claims=tuple(volume.claim for volume in placement.volumes),
        several_nodes=any(pod.nodes > 1 for pod in pods),
        queue=any(pod.queue for pod in pods),
    )
