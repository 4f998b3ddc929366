"""A world of two tokens that end, in which all that a policy can say is known: what it earns is exact."""

import copy
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copg.losses.copg import copg_loss
from copg.losses.diagnostics import residual_fraction, weighted_log_ratio
from copg.losses.groups import Completions
from copg.training.config import OptimizerConfig
from copg.training.optim import build_optimizer, learning_rate
from tests import tiny

LETTERS = "abcde"
TURN, EOS = len(LETTERS), len(LETTERS) + 1
ENDS = (TURN, EOS)
NUM_TOKENS = len(LETTERS) + 2
BETA, EPOCHS, STEP, DRAWN = 0.5, 6, 32, 4
PROMPTS = ["".join(pair) for pair in itertools.product("abcd", repeat=2)]
TEXTS = ["".join(text) for size in range(3) for text in itertools.product(LETTERS, repeat=size)]
"""What ends before the limit of three tokens; each is also a context, in which a token is drawn."""
CUT = ["".join(text) for text in itertools.product(LETTERS, repeat=3)]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<turn>{% endif %}{% endfor %}"
Policy = Callable[[], Tensor]
"""[prompts, contexts, tokens] log-probability of each next token."""


def ids(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


OUTCOMES = [[*ids(text), end] for end in ENDS for text in TEXTS] + [ids(text) for text in CUT]
"""All that can be drawn: 31 texts by either end, and 125 that are cut."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A token a letter; its end of text is ``<eos>``, its template ends a turn with ``<turn>``."""
    vocabulary = {token: i for i, token in enumerate([*LETTERS, "<turn>", "<eos>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        extra_special_tokens=["<turn>"],
        chat_template=TEMPLATE,
    )


def _paths() -> tuple[Tensor, Tensor, Tensor]:
    """[outcomes, 3] contexts and tokens of each outcome, and which of them there are."""
    contexts = torch.zeros(len(OUTCOMES), 3, dtype=torch.long)
    tokens, there = torch.zeros_like(contexts), torch.zeros(len(OUTCOMES), 3, dtype=torch.bool)
    for i, outcome in enumerate(OUTCOMES):
        for k, token in enumerate(outcome):
            before = "".join(LETTERS[letter] for letter in outcome[:k])
            contexts[i, k], tokens[i, k], there[i, k] = TEXTS.index(before), token, True
    return contexts, tokens, there


CONTEXTS, TOKENS, THERE = _paths()


def outcome_logps(says: Tensor) -> Tensor:
    """[prompts, outcomes] of what a policy says."""
    return (says[:, CONTEXTS, TOKENS] * THERE).sum(-1)


class Table(torch.nn.Module):
    """A logit for every token in every context: what is learnt of one moves no other."""

    def __init__(self, says: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(says.clone())

    def forward(self) -> Tensor:
        return self.logits.log_softmax(-1)


class Network(torch.nn.Module):
    """A model that says everything from the same weights."""

    ROWS = torch.tensor([ids(prompt + text) for prompt in PROMPTS for text in TEXTS if len(text) == 2])

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self) -> Tensor:
        # of each context one row that goes through it: the empty one, five letters, 25 pairs
        found = self.model(self.ROWS).logits.log_softmax(-1).view(len(PROMPTS), 25, 4, NUM_TOKENS)
        return torch.cat([found[:, :1, 1], found[:, ::5, 2], found[:, :, 3]], 1)


def build_table() -> Table:
    """It ends its turns with ``<turn>`` and hardly ever writes ``<eos>``."""
    logits = torch.randn(len(PROMPTS), len(TEXTS), NUM_TOKENS, generator=torch.Generator().manual_seed(0))
    logits = 0.5 * logits.double()
    logits[..., TURN] += 1
    logits[..., EOS] -= 9
    return Table(logits.log_softmax(-1))


def build_network() -> Network:
    """The same of a tiny Llama, by 600 steps from a random one towards itself with these two logits moved.

    A bias that training could turn back by itself is not how models come to end their turns.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=NUM_TOKENS, max_position_embeddings=16, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5.0)
        model.lm_head.weight.mul_(0.1)
    network = Network(model)
    with torch.no_grad():
        target = network().clone()
        target[..., TURN] += 1
        target[..., EOS] -= 9
        target = target.log_softmax(-1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        torch.nn.functional.kl_div(network(), target, reduction="batchmean", log_target=True).backward()
        optimizer.step()
    return Network(tiny.saved_and_loaded(network.model))


@dataclass(frozen=True)
class Earned:
    """What a policy is worth, over all that it can say."""

    reward: float
    wrong: float
    """Probability that a turn ends with ``<eos>``."""
    kl: float
    """Nats from the reference."""


@dataclass(frozen=True)
class Trained:
    """A policy, and what its last steps showed."""

    earned: Earned
    residual: float
    logged_kl: float
    """That logged completions show, nats."""


class World:
    """Rewards of all outcomes, logs drawn from a reference, and CoPG on them."""

    def __init__(self, reference: Table | Network) -> None:
        self.reference = reference
        with torch.no_grad():
            self.ref = outcome_logps(reference())
        assert torch.allclose(self.ref.exp().sum(1), torch.ones_like(self.ref[:, 0]), atol=1e-4)
        rewards = torch.randn(len(PROMPTS), len(TEXTS) + len(CUT), generator=torch.Generator().manual_seed(1))
        # a text earns the same by whichever token it ends
        self.rewards = torch.cat([rewards[:, : len(TEXTS)], rewards], 1).to(self.ref)
        self.generator = torch.Generator().manual_seed(2)

    def earned(self, policy: Policy) -> Earned:
        with torch.no_grad():
            logps = outcome_logps(policy())
        chances = logps.exp()
        wrong = chances[:, len(TEXTS) : 2 * len(TEXTS)].sum(1).mean()
        kl = (chances * (logps - self.ref)).sum(1).mean()
        return Earned(float((chances * self.rewards).sum(1).mean()), float(wrong), float(kl))

    def draw(self, policy: Policy, outcomes: slice) -> list[tuple[int, list[int]]]:
        """64 groups of each prompt, of places among all outcomes."""
        with torch.no_grad():
            chances = outcome_logps(policy())[:, outcomes].exp()
        return [
            (i, torch.multinomial(row, DRAWN, replacement=True, generator=self.generator).tolist())
            for i, row in enumerate(chances)
            for _ in range(64)
        ]

    def logs(self) -> list[tuple[int, list[int]]]:
        """Of the reference: texts that ended, by their places among ``TEXTS``."""
        return self.draw(self.reference, slice(0, len(TEXTS)))

    def train(self, rate: float, logs: list[tuple[int, list[int]]], *, fresh: bool = False) -> Trained:
        """CoPG by the optimiser of trainings, each epoch on the logs or on what the policy draws then."""
        policy = copy.deepcopy(self.reference)
        config = OptimizerConfig(learning_rate=rate)
        optimizer, order = build_optimizer(policy, config), random.Random(0)
        num_steps = EPOCHS * len(logs) // STEP
        shown: list[tuple[float, float]] = []
        for epoch in range(EPOCHS):
            if fresh and epoch:
                logs = self.draw(policy, slice(None))
            met = order.sample(logs, len(logs))
            for start in range(0, len(met), STEP):
                optimizer.param_groups[0]["lr"] = learning_rate(len(shown), num_steps, config, peak=rate)
                batch = met[start : start + STEP]
                prompt = torch.tensor([i for i, drawn in batch for _ in drawn])
                outcome = torch.tensor([each for _, drawn in batch for each in drawn])
                group = torch.arange(len(batch)).repeat_interleave(DRAWN)
                logps = outcome_logps(policy())[prompt, outcome]
                known = (self.ref[prompt, outcome], self.rewards[prompt, outcome], torch.ones(len(group)))
                drawn = Completions(logps, *known, group)
                optimizer.zero_grad()
                copg_loss(drawn, beta=BETA).mean().backward()
                torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
                optimizer.step()
                shown.append(
                    (float(residual_fraction(drawn, beta=BETA)), float(weighted_log_ratio(drawn).mean()))
                )
        residual, logged_kl = (sum(each) / 10 for each in zip(*shown[-10:], strict=True))
        return Trained(self.earned(policy), residual, logged_kl)
