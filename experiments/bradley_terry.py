"""A reward model of the Bradley-Terry kind from ranked groups: the paper's ground truth, learned here.

The product reads it back by the reward ``reward_model``.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from copg.progress import track
from copg.records import Group
from copg.rewards.reward_model import encode

PAIRS_PER_STEP = 64


def ranked_pairs(groups: Sequence[Group]) -> list[tuple[int, int, int]]:
    """(group, winner, loser) of every two completions of a group whose rewards differ."""
    pairs = []
    for g, group in enumerate(groups):
        rewards = [float(c.reward or 0) for c in group.completions]
        for i, j in itertools.permutations(range(len(rewards)), 2):
            if rewards[i] > rewards[j]:
                pairs.append((g, i, j))
    return pairs


def train_reward_model(
    train: Sequence[Group],
    held_out: Sequence[Group],
    model: Path,
    out: Path,
    *,
    epochs: int = 2,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> dict[str, float]:
    """Minimise -log sigmoid(r(winner) - r(loser)), the body starting from the reference's weights.

    Args:
        train: scored groups.
        held_out: scored groups of other prompts.
        model: the reference.
        out: where the classifier and its tokeniser go.
        epochs: over all ranked pairs.
        learning_rate: of Adam, falling linearly to 0.
        seed: of the head's first weights and of the order of pairs.

    Returns:
        Share of held-out pairs ranked right, and how many there are.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    classifier: Any = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    if classifier.config.pad_token_id is None:
        classifier.config.pad_token_id = tokenizer.eos_token_id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier.to(device).train()
    pairs = ranked_pairs(train)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=learning_rate, fused=True)
    steps = [
        batch
        for order in (np.random.default_rng([seed, epoch]).permutation(len(pairs)) for epoch in range(epochs))
        for batch in np.array_split(order, max(1, len(pairs) // PAIRS_PER_STEP))
    ]
    for step, batch in enumerate(track(steps, "reward model")):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / len(steps))
        margin = _margins(classifier, tokenizer, train, [pairs[i] for i in batch], device)
        optimizer.zero_grad()
        (-logsigmoid(margin).mean()).backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
    classifier.eval()
    tested = ranked_pairs(held_out)
    with torch.no_grad():
        right = [
            _margins(classifier, tokenizer, held_out, tested[start : start + PAIRS_PER_STEP], device) > 0
            for start in range(0, len(tested), PAIRS_PER_STEP)
        ]
    classifier.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {"accuracy": float(torch.cat(right).float().mean()), "pairs": float(len(tested))}


def _margins(
    model: Any, tokenizer: Any, groups: Sequence[Group], pairs: Sequence[tuple[int, int, int]], device: Any
) -> Tensor:
    """[P] r(winner) - r(loser), from one forward of all their sequences."""
    rows = [
        encode(tokenizer, groups[g].prompt, groups[g].completions[i].text, form="text").ids["input_ids"]
        for g, *two in pairs
        for i in two
    ]
    longest = max(map(len, rows))
    pad = model.config.pad_token_id
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    values = model(input_ids=ids, attention_mask=mask).logits[:, 0].view(-1, 2)
    return values[:, 0] - values[:, 1]
