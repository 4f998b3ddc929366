"""Two models as one: log-probabilities on the line between the reference's and the policy's.

With weight w of the policy, at each position,

    log pi_w(token) = (1 - w) log ref(token) + w log policy(token) - log of the sum over all tokens

so that 0 is the reference, 1 the policy, and what lies between is near what a training with a stronger pull
to the reference would come to (decoding-time realignment, https://arxiv.org/abs/2402.02992). No weights of
one model hold such a mix.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutput

from copg.errors import ModelError
from copg.lm.anatomy import read_anatomy


class MixedModel(torch.nn.Module):
    """What our engine draws from as from one model; both are in memory, with keys and values of both."""

    def __init__(self, policy: Any, reference: Any, weight: float) -> None:
        """Keep two models that are loaded.

        Args:
            policy: over the same vocabulary as the reference.
            reference: on the same device.
            weight: of the policy.
        """
        super().__init__()
        self.policy, self.reference, self.weight = policy, reference, weight
        self.config = policy.config

    @property
    def parts(self) -> tuple[Any, Any]:
        """The models that are mixed."""
        return self.policy, self.reference

    @property
    def device(self) -> torch.device:
        """Of both models."""
        return next(self.parameters()).device

    def forward(self, past_key_values: Cache | None = None, **inputs: Any) -> CausalLMOutput:
        """Logits [B, T, V] of the mix, float32: its log-probabilities but for a constant a position.

        Args:
            past_key_values: layers of the policy; those of the reference are appended at the first call.
            inputs: as both models take them.

        Raises:
            ModelError: the models have vocabularies of different sizes.
        """
        kept = [{}, {}] if past_key_values is None else self._caches(past_key_values)
        of_policy, of_reference = (
            model(**inputs, **cache).logits.float().log_softmax(-1)
            for model, cache in zip((self.policy, self.reference), kept, strict=True)
        )
        sizes = of_policy.shape[-1], of_reference.shape[-1]
        if sizes[0] != sizes[1]:
            raise ModelError(
                f"the policy has logits of {sizes[0]} tokens, the reference of {sizes[1]}: none can be mixed"
            )
        mixed: Tensor = (1 - self.weight) * of_reference + self.weight * of_policy
        return CausalLMOutput(logits=mixed)

    def _caches(self, both: Cache) -> list[dict[str, Cache]]:
        """The two halves of a cache, which hold its own layers: rows chosen in it are chosen in both."""
        mine = read_anatomy(self.policy.config).layers
        if len(both.layers) == mine:
            theirs = read_anatomy(self.reference.config).layers
            both.layers += [type(both.layers[0])() for _ in range(theirs)]
        return [{"past_key_values": Cache(layers=half)} for half in (both.layers[:mine], both.layers[mine:])]
