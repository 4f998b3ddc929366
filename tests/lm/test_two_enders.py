"""A world of two tokens that end: what is trained must be the one that the template ends a turn with."""

import copy
import itertools
import random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copg.lm.text import TextCodec
from copg.losses.copg import copg_loss
from copg.losses.groups import Completions
from tests import tiny

LETTERS = "abcde"
TURN, EOS = len(LETTERS), len(LETTERS) + 1
BETA, EPOCHS, STEP = 0.5, 6, 32
PROMPTS = ["".join(pair) for pair in itertools.product("abcd", repeat=2)]
SHORT = ["".join(text) for size in range(3) for text in itertools.product(LETTERS, repeat=size)]
CUT = ["".join(text) for text in itertools.product(LETTERS, repeat=3)]
"""Drawn up to the limit of three tokens."""
TEMPLATE = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<turn>{% endif %}{% endfor %}"


def build_codec() -> TextCodec:
    """A token a letter; its end of text is ``<eos>``, its template ends a turn with ``<turn>``."""
    vocabulary = {token: i for i, token in enumerate([*LETTERS, "<turn>", "<eos>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # type: ignore[assignment]
    return TextCodec(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token="<eos>",
            extra_special_tokens=["<turn>"],
            chat_template=TEMPLATE,
        )
    )


def build_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=7, max_position_embeddings=16, **sizes)).eval()


def build_reference() -> Any:
    """It ends its turns with ``<turn>`` and hardly ever writes ``<eos>``, as a model that learned to.

    Distilled from a random one whose logits of the two are moved: a bias that training could turn back by
    itself is not how models come to end their turns.
    """
    teacher, student = build_model(0), build_model(1)
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5.0)
        teacher.lm_head.weight.mul_(0.1)
        rows = torch.tensor([ids(prompt + text) for prompt in PROMPTS for text in CUT])
        logits = teacher(rows).logits[:, 1:]
        logits[..., TURN] += 1
        logits[..., EOS] -= 9
        target = logits.softmax(-1)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    for _ in range(600):
        chosen = torch.randint(len(rows), (128,))
        found = student(rows[chosen]).logits[:, 1:].log_softmax(-1)
        optimizer.zero_grad()
        torch.nn.functional.kl_div(found, target[chosen], reduction="batchmean").backward()
        optimizer.step()
    return tiny.saved_and_loaded(student)


def logps(model: LlamaForCausalLM, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """[N] of each completion, nats."""
    rows = [[*p, *c] for p, c in zip(prompts, completions, strict=True)]
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    of_all = model(tokens).logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    place = torch.arange(1, width)
    start, end = (torch.tensor([len(x) for x in side])[:, None] for side in (prompts, rows))
    return (of_all * ((place >= start) & (place < end))).sum(1)


def ids(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


class World:
    """Rewards, logs and what a policy earns, exactly."""

    def __init__(self) -> None:
        rng = random.Random(0)
        self.reference = build_reference()
        self.reward = {(p, text): rng.gauss(0, 1) for p in PROMPTS for text in (*SHORT, *CUT)}
        self.logs: list[tuple[str, list[str]]] = []
        for prompt in PROMPTS:
            weights = self.chances(self.reference, prompt, TURN).exp().tolist()
            self.logs += [(prompt, rng.choices(SHORT, weights, k=4)) for _ in range(64)]

    def chances(self, model: LlamaForCausalLM, prompt: str, end: int) -> Tensor:
        """[31] log-probability of each short text that ends by ``end``."""
        with torch.no_grad():
            return logps(model, [ids(prompt)] * len(SHORT), [[*ids(text), end] for text in SHORT])

    def earns(self, model: LlamaForCausalLM) -> tuple[float, float]:
        """Expected reward, and the probability that a turn ends by ``<eos>``."""
        reward = wrong = 0.0
        for prompt in PROMPTS:
            turn, eos = (self.chances(model, prompt, end).exp() for end in (TURN, EOS))
            with torch.no_grad():
                cut = logps(model, [ids(prompt)] * len(CUT), [ids(text) for text in CUT]).exp()
            assert float(turn.sum() + eos.sum() + cut.sum()) == pytest.approx(1, abs=1e-4)
            values = [self.reward[prompt, text] for text in (*SHORT, *CUT)]
            reward += float((torch.cat([turn + eos, cut]) * torch.tensor(values)).sum()) / len(PROMPTS)
            wrong += float(eos.sum()) / len(PROMPTS)
        return reward, wrong

    def train(self, completion_ids: dict[tuple[str, str], list[int]]) -> LlamaForCausalLM:
        """The policy after CoPG on the logs, with these token ids of their texts."""
        policy = copy.deepcopy(self.reference)
        optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
        rng = random.Random(1)
        for _ in range(EPOCHS):
            order = rng.sample(self.logs, len(self.logs))
            for start in range(0, len(order), STEP):
                batch = [(i, p, t) for i, (p, texts) in enumerate(order[start : start + STEP]) for t in texts]
                prompts = [ids(p) for _, p, _ in batch]
                said = [completion_ids[p, t] for _, p, t in batch]
                with torch.no_grad():
                    reference = logps(self.reference, prompts, said)
                rewards = torch.tensor([self.reward[p, t] for _, p, t in batch])
                lengths = torch.tensor([len(each) for each in said])
                group = torch.tensor([i for i, _, _ in batch])
                drawn = Completions(logps(policy, prompts, said), reference, rewards, lengths, group)
                optimizer.zero_grad()
                copg_loss(drawn, beta=BETA).mean().backward()
                optimizer.step()
        return policy


@pytest.mark.nightly
def test_the_end_of_the_template_keeps_the_gain_that_the_end_of_text_loses() -> None:
    torch.set_num_threads(1)
    world, codec = World(), build_codec()
    openings = {p: codec.open([{"role": "user", "content": p}]) for p in PROMPTS}
    assert {p: opening.ids for p, opening in openings.items()} == {p: ids(p) for p in PROMPTS}
    pairs = [(p, text) for p in PROMPTS for text in SHORT]
    right = {(p, t): [*ids(t), TURN] for p, t in pairs}
    wrong = {(p, t): [*ids(t), EOS] for p, t in pairs}
    # ours are the right ones, so that their run is the right run
    assert {(p, t): codec.encode(openings[p], t, finished=True).ids for p, t in pairs} == right
    before, rare = world.earns(world.reference)
    assert rare < 1e-3
    reward, ended_wrong = world.earns(world.train(right))
    planted, planted_wrong = world.earns(world.train(wrong))  # eos whatever the template writes
    assert reward - before > 0.3
    assert ended_wrong <= rare
    assert planted - before < 0.8 * (reward - before)
    assert planted_wrong > 20 * rare
