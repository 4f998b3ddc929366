"""An independent oracle: TRL's losses on a real model, against ours through prefix-shared rows.

TRL divides the log-ratios of ``ipo`` by the length n of a completion, tau being its beta. With every pair at
the same reward gap g, and beta = 2 * tau * g / n,

    (g - beta * delta)**2 = (beta * n)**2 * (delta / n - 1 / (2 * tau))**2,  as g / (beta * n) = 1 / (2 * tau)

so ``copg_loss``, which divides by 2 * beta, is beta * n**2 / 2 times TRL's loss, in value and gradient.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from copg.data.mismatched import MISMATCHED
from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import TokenGroup
from copg.lm.scorer import SequenceScorer, group_logps
from copg.losses import load_loss
from copg.losses.groups import Completions
from copg.records import Completion, Group
from copg.training.config import TrialConfig
from copg.training.data import TrainData
from copg.training.step import accumulate_gradients
from tests import tiny

trl = pytest.importorskip("trl", reason="the comparison needs the extra 'trl'")

TAU = 0.4
GAP = 1.5
EQUAL = [([1, 5, 9], [7, 8, 11, 2], [4, 4, 13, 2]), ([1, 6], [3, 12, 10, 2], [9, 9, 5, 2])]
"""Prompt, winner, loser: completions of n = 4 tokens, the end-of-sequence token 2 included."""
UNEQUAL = [([1, 5, 9], [7, 8, 2], [4, 4, 13, 6, 2]), ([1, 6], [3, 12, 10, 11, 5, 2], [9, 2])]


def tiny_model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,  # so that log-ratios are of several nats
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return tiny.saved_and_loaded(LlamaForCausalLM(config))


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<pad>", "<s>", "</s>", *"abcdefghijklm"])})
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def trl_loss(model: Any, reference: Any, pairs: list, folder: Path, *, loss_type: str, beta: float) -> Tensor:
    """The loss that TRL's trainer computes for one batch, with gradients."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    quiet = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": False}
    args = DPOConfig(str(folder), loss_type=[loss_type], beta=beta, max_length=None, **quiet)
    rows = Dataset.from_list([{"prompt": "a b", "chosen": " c", "rejected": " d"}])
    trainer = DPOTrainer(model, reference, args, train_dataset=rows, processing_class=tokenizer())
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    batch = DataCollatorForPreference(pad_token_id=0)([dict(zip(names, pair, strict=True)) for pair in pairs])
    model.eval()
    return trainer.compute_loss(model, batch)


def our_loss(model: Any, reference: Any, pairs: list, *, method: str, beta: float) -> Tensor:
    """The mean loss of the pairs as groups of two, through the rows that training uses."""
    groups = [TokenGroup(prompt, [winner, loser]) for prompt, winner, loser in pairs]
    batch = build_batch(groups, [[0, 1]])
    with torch.no_grad():
        ref_logps = SequenceScorer(reference, RowConfig())(batch)
    num_tokens = torch.tensor([len(ids) for _, *two in pairs for ids in two])
    rewards = torch.tensor([GAP, 0.0]).repeat(len(pairs))
    policy_logps = SequenceScorer(model, RowConfig())(batch)
    completions = Completions(policy_logps, ref_logps, rewards, num_tokens, torch.tensor([0, 0, 1, 1]))
    return load_loss(method)(completions, beta=beta).mean()


def gradient(loss: Tensor, model: Any) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


CASES = [
    # ours, pairs, TRL's loss, our beta, ours over TRL's
    ("copg", EQUAL, "ipo", 2 * TAU * GAP / 4, (2 * TAU * GAP / 4) * 4**2 / 2),
    # (1/2 - tau * delta)**2 / (2 * tau) = tau / 2 * (delta - 1 / (2 * tau))**2, delta a token
    ("ipo_length_normalised", UNEQUAL, "ipo", TAU, TAU / 2),
    # in sums: beta = tau / n, (1/2 - beta * delta)**2 / (2 * beta) = beta * n**2 / 2 * TRL's
    ("ipo", EQUAL, "ipo", TAU / 4, TAU / 4 * 4**2 / 2),
    ("dpo", UNEQUAL, "sigmoid", TAU, 1.0),
]


@pytest.mark.parametrize(("method", "pairs", "loss_type", "beta", "scale"), CASES, ids=[c[0] for c in CASES])
def test_loss_and_gradient_agree_with_trl(
    method: str, pairs: list, loss_type: str, beta: float, scale: float, tmp_path: Path
) -> None:
    model, reference = tiny_model(0), tiny_model(1)
    ours = our_loss(model, reference, pairs, method=method, beta=beta)
    our_gradient = gradient(ours, model)
    theirs = trl_loss(model, reference, pairs, tmp_path, loss_type=loss_type, beta=TAU)
    their_gradient = scale * gradient(theirs, model)
    assert float(ours.detach()) == pytest.approx(scale * float(theirs.detach()), rel=1e-5)
    difference = (our_gradient - their_gradient).norm() / their_gradient.norm()
    assert float(difference) < 5e-6


def test_the_oracle_would_notice_lengths(tmp_path: Path) -> None:
    # at unequal lengths the relation must not hold: sums and means are different objectives
    model, reference = tiny_model(0), tiny_model(1)
    beta = 2 * TAU * GAP / 4
    ours = our_loss(model, reference, UNEQUAL, method="copg", beta=beta)
    theirs = trl_loss(model, reference, UNEQUAL, tmp_path, loss_type="ipo", beta=TAU)
    assert float(ours.detach()) != pytest.approx(beta * 4**2 / 2 * float(theirs.detach()), rel=0.05)


REWARDS = [1.0, 0.0, 0.4, -0.7]
GROUP = [[7, 8, 11, 2], [4, 4, 13, 6, 2], [9, 2], [3, 12, 10, 11, 5, 2]]
"""Completions of one prompt, of several lengths."""


def scored(model: Any, reference: Any, rewards: list[float]) -> Completions:
    """``GROUP`` as ours scores it, with a gradient to the model."""
    batch = build_batch([TokenGroup([1, 5, 9], GROUP)], [[0]])
    with torch.no_grad():
        ref_logps = SequenceScorer(reference, RowConfig())(batch)
    lengths, group = torch.tensor([len(ids) for ids in GROUP]), torch.zeros(len(GROUP), dtype=torch.int64)
    logps = SequenceScorer(model, RowConfig())(batch)
    return Completions(logps, ref_logps, torch.tensor(rewards), lengths, group)


def test_astar_po_agrees_with_trl_from_the_value_to_the_gradient(tmp_path: Path) -> None:
    # ours is the sum of TRL's (beta2 * d - (R - V))**2 over 2 * beta; TRL's loss is their mean
    model, reference = tiny_model(0), tiny_model(1)
    ours = load_loss("astar_po")(scored(model, reference, REWARDS), beta=TAU)[0]
    our_gradient = gradient(ours, model)
    theirs = a2po_loss(model, reference, tmp_path)
    scale = len(GROUP) / (2 * TAU)
    their_gradient = scale * gradient(theirs, model)
    assert float(ours.detach()) == pytest.approx(scale * float(theirs.detach()), rel=1e-5)
    assert float((our_gradient - their_gradient).norm() / their_gradient.norm()) < 5e-6


def a2po_loss(model: Any, reference: Any, folder: Path) -> Tensor:
    """What TRL's trainer makes of ``GROUP``: V by its first stage, the squares by its second."""
    from datasets import Dataset
    from trl.experimental.a2po import A2POConfig, A2POTrainer

    quiet = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": False}
    args = A2POConfig(str(folder), num_value_samples=len(GROUP), beta1=TAU, beta2=TAU, **quiet)
    trainer = A2POTrainer(
        model,
        lambda prompts, completions, **_: REWARDS,
        args,
        train_dataset=Dataset.from_list([{"prompt": "c g"}]),
        processing_class=tokenizer(),
    )
    longest = max(map(len, GROUP))
    padded = torch.tensor([[1, 5, 9, *ids, *[0] * (longest - len(ids))] for ids in GROUP])
    mask = torch.tensor([[1] * (3 + len(ids)) + [0] * (longest - len(ids)) for ids in GROUP])
    # the draws of the reference are what was logged
    reference.generate = lambda **_: padded
    trainer.ref_model = reference
    trainer._estimate_optimal_values()
    (value,) = trainer._optimal_values.values()
    model.eval()
    with torch.no_grad():
        ref_logps = trainer._get_sequence_logps(reference, padded, mask, longest)
    inputs = {"input_ids": padded, "attention_mask": mask, "logits_to_keep": longest, "ref_logps": ref_logps}
    rewards = {"rewards": torch.tensor(REWARDS), "v_star": torch.full((len(GROUP),), value)}
    return trainer.compute_loss(model, {**inputs, **rewards})


PROMPTS = [[1, 5, 9], [1, 6], [1, 4, 4, 9], [1, 7]]
SAID = [
    ([7, 8, 11, 2], [4, 4, 2]),
    ([3, 12, 10, 2], [9, 9, 5, 2]),
    ([5, 2], [6, 6, 6, 10, 2]),
    ([8, 13, 2], [3, 2]),
]
"""Completions of each prompt, of which the first, or both, are judged."""
THUMBS = [(1, 0), (0, 1), (0, 0), (1, 1)]


@pytest.mark.parametrize("judged", [1, 2])
def test_a_step_of_kto_agrees_with_trl_from_completions_of_other_prompts_to_the_gradient(
    tmp_path: Path, judged: int
) -> None:
    # TRL has the mean over completions, ours that over prompts; beside each prompt stands what was said first
    # to the one before it, which of single completions is TRL's own rotation
    model, reference = tiny_model(0), tiny_model(1)
    others = [said[0] for said in [SAID[-1], *SAID[:-1]]]
    ours, point = our_kto_step(model, reference, others, judged)
    our_gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    theirs, metrics = trl_kto_loss(model, reference, others, judged, tmp_path)
    their_gradient = judged * gradient(theirs, model)
    assert point == pytest.approx(metrics["kl"][0], rel=1e-5)
    assert point > 0.1
    assert ours == pytest.approx(judged * float(theirs.detach()), rel=1e-5)
    assert float((our_gradient - their_gradient).norm() / their_gradient.norm()) < 5e-6


def our_kto_step(model: Any, reference: Any, others: list, judged: int) -> tuple[float, float]:
    """Loss and reference point of a step of all prompts, a batch each; gradients stay in the model."""
    own, beside = (
        group_logps(reference, [TokenGroup(*each) for each in zip(PROMPTS, completions, strict=True)])
        for completions in ([said[:judged] for said in SAID], [[each] for each in others])
    )
    groups = []
    for number, prompt in enumerate(PROMPTS):
        scored = zip(SAID[number], own[number], THUMBS[number], strict=False)
        held = [Completion("", token_ids=ids, ref_logps=r, reward=float(up)) for ids, r, up in scored]
        column = {MISMATCHED: {"token_ids": others[number], "ref_logps": beside[number][0]}}
        groups.append(Group(str(number), "", held[:judged], column, prompt_ids=prompt))
    data, rows = TrainData(groups, mismatched=True), RowConfig(tokens_per_batch=1)
    trial, accelerator = TrialConfig(beta=TAU, method="kto"), Accelerator(cpu=True)
    result = accumulate_gradients(accelerator, SequenceScorer(model, rows), data, range(4), trial, rows)
    assert result.reference_point is not None
    return result.loss, result.reference_point


def trl_kto_loss(
    model: Any, reference: Any, others: list, judged: int, folder: Path
) -> tuple[Tensor, dict[str, list[float]]]:
    """What TRL's trainer makes of the same with its own reference model, and its metrics."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    quiet = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": False}
    args = KTOConfig(str(folder), beta=TAU, max_length=None, train_sampling_strategy="sequential", **quiet)
    row = {"prompt": "a b", "completion": " c", "label": True}
    rows = Dataset.from_list([row, {**row, "label": False}])
    trainer = KTOTrainer(model, reference, args, train_dataset=rows, processing_class=tokenizer())
    examples = [
        {"prompt_ids": prompt, "completion_ids": ids, "KL_completion_ids": other, "label": bool(up)}
        for prompt, said, other, thumbs in zip(PROMPTS, SAID, others, THUMBS, strict=True)
        for ids, up in [*zip(said, thumbs, strict=True)][:judged]
    ]
    model.eval()
    loss = trainer.compute_loss(model, DataCollatorForUnpairedPreference(pad_token_id=0)(examples))
    return loss, trainer._metrics["eval"]
