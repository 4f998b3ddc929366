"""What a recipe's placement asks of a cluster."""

from pathlib import Path

from copg_pipelines.doctor.kube import Needs, SecretNeed


def needs_of(recipe: Path | None, kfp_namespace: str, namespace: str, image: str) -> Needs:
    """For ``doctor``: of a recipe, or of any.

    Args:
        recipe: its file; None: what every recipe needs.
        kfp_namespace: where KFP is installed.
        namespace: where the tasks run.
        image: to pull for a try; empty: the placement's, if it names one.
    """
    if recipe is None:
        return Needs(kfp_namespace=kfp_namespace, namespace=namespace, image=image)
    from copg.run.recipe import load_recipe
    from copg_pipelines.placement.config import parse_placement

    loaded = load_recipe(recipe)
    placement = parse_placement(loaded.placement)
    pods = [placement.defaults, *placement.stages.values()]
    gpus: dict[str, int] = {}
    for pod in pods:
        if pod.gpu.count:
            gpus[pod.gpu.type] = max(gpus.get(pod.gpu.type, 0), pod.gpu.count)
    return Needs(
        kfp_namespace=kfp_namespace,
        namespace=namespace,
        image=image or placement.image.name,
        pull_policy=placement.image.pull_policy,
        pull_secrets=tuple(placement.image.pull_secrets),
        gpus=gpus,
        secrets=tuple(
            SecretNeed(name=each.name, keys=tuple(each.keys), optional=each.optional)
            for each in placement.secrets
        ),
        claims=tuple(volume.claim for volume in placement.volumes),
        tracking=loaded.tracking or placement.stores.tracking,
        several_nodes=any(pod.nodes > 1 for pod in pods),
        queue=any(pod.queue for pod in pods),
    )
