"""A value of each prompt, for methods that learn one: a linear layer on the policy's states."""

from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.row_batch import RowBatch
from copg.lm.scorer import SequenceScorer
from copg.losses import WITH_VALUES
from copg.training.config import TrainConfig


class ValuedScorer(SequenceScorer):
    """A policy as a map from row batches to log-probabilities of completions and values of their prompts.

    The value is a linear function of the state that predicts the first token a completion scores: what the
    policy makes of all that it was given before it speaks. The state is taken as it is, at mean 0 and norm 1,
    and no gradient goes through it, so values move the head alone. The head belongs to the scorer, not to the
    policy: a checkpoint holds it, and nothing that is written or drawn from has one.
    """

    def __init__(self, model: Any, rows: RowConfig, method: str) -> None:
        """With a head that finds every value 0, on the model's device.

        Raises:
            ModelError: the rows give logits, and no hidden states.
        """
        super().__init__(model, rows)
        weight = self.head.weight
        if weight is None:
            raise ModelError(
                f"method={method} reads the value of a prompt off hidden states, and rows of form "
                "'plain' give logits alone: use a method without values, such as copg"
            )
        self.value_head = torch.nn.Linear(weight.shape[1], 1, device=weight.device, dtype=torch.float32)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)
        self._values: Tensor | None = None

    def states(self, batch: RowBatch) -> Tensor:
        """As ``SequenceScorer``; the values of the batch are noted on the way."""
        states = super().states(batch)
        each = torch.arange(batch.num_completions, device=batch.completion.device)
        firsts = torch.searchsorted(batch.completion, each)
        places = firsts if batch.token is None else batch.token[firsts]
        with torch.autocast(states.device.type, enabled=False):
            given = states.detach()[places].float()
            features = torch.nn.functional.layer_norm(given, given.shape[-1:]) / given.shape[-1] ** 0.5
            self._values = self.value_head(features)[:, 0]
        return states

    def forward(self, batch: RowBatch) -> Tensor:
        """[num_completions, 2] log pi(y|x) in nats, and the value of x, float32."""
        logps = super().forward(batch)
        values, self._values = self._values, None
        assert values is not None
        return torch.stack([logps, values], 1)


def open_scorer(policy: Any, rows: RowConfig, method: str) -> SequenceScorer:
    """What scores completions as a method asks for, before it is spread over processes.

    Raises:
        ModelError: the method learns values, and the policy's rows give no hidden states.
    """
    return ValuedScorer(policy, rows, method) if method in WITH_VALUES else SequenceScorer(policy, rows)


def train_head(
    scorer: SequenceScorer, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> torch.nn.Module:
    """Let the optimiser of the policy train the scorer's head too, where there is one, at a rate of its own.

    The rate warms up and decays with the policy's.

    Returns:
        What a checkpoint has to hold: the policy, or the policy and the head.
    """
    if not isinstance(scorer, ValuedScorer):
        policy: torch.nn.Module = scorer.model
        return policy
    head, rate = list(scorer.value_head.parameters()), config.trial.value_learning_rate / config.peak_rate
    optimizer.add_param_group({"params": head, "weight_decay": 0.0, "rate": rate})
    return scorer
