"""A world whose completions can be counted: prompts, a reference transformer, rewards, and exact values.

Five letters and the end of sequence are the whole vocabulary, and a completion has at most two letters: it
is empty, one letter and the end, or two letters and cut off. These 31 are all that a policy can say, so
pi*, J and regret are sums and not estimates.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from copg.artifacts import begin, seal
from copg.data.group_files import GroupWriter
from copg.records import Completion, Group, prompt_id

LETTERS = "abcde"
END = len(LETTERS)
NUM_PROMPTS = 16
STRINGS = ["", *LETTERS, *("".join(pair) for pair in itertools.product(LETTERS, repeat=2))]
"""The 31 completions, in the order of every [*, 31] array."""
MIXTURES = ("reference", "uniform", "adverse")


@dataclass(frozen=True)
class World:
    """What is given: nothing here is trained."""

    prompts: list[str]
    rewards: np.ndarray
    """[prompts, 31] in reward units."""
    reference: np.ndarray
    """[prompts, 31] probability of each completion."""
    beta: float
    """Reward units per nat."""

    def objective(self, policy: np.ndarray) -> float:
        """J = E[R] - beta * KL(policy || reference), mean over prompts, in reward units."""
        regularised = self.rewards - self.beta * (np.log(policy) - np.log(self.reference))
        return float((policy * regularised).sum(-1).mean())

    def optimum(self) -> np.ndarray:
        """[prompts, 31] pi* = reference * exp(R / beta) / Z."""
        tilted = self.reference * np.exp(self.rewards / self.beta)
        return tilted / tilted.sum(-1, keepdims=True)

    def regret(self, policy: np.ndarray) -> float:
        """J(pi*) - J(policy), in reward units."""
        return self.objective(self.optimum()) - self.objective(policy)

    def samplers(self, mixture: str) -> tuple[np.ndarray, np.ndarray]:
        """[prompts, 31] of the two policies that take turns at writing the completions of a group.

        ``reference`` samples the reference, ``uniform`` knows nothing, and in ``adverse`` one prefers what
        has a low reward and the other is the reference flattened.
        """
        uniform = np.full_like(self.reference, 1 / len(STRINGS))
        if mixture == "reference":
            return self.reference, self.reference
        if mixture == "uniform":
            return uniform, uniform
        adverse, flat = np.exp(-self.rewards), np.sqrt(self.reference)
        return adverse / adverse.sum(-1, keepdims=True), flat / flat.sum(-1, keepdims=True)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation between two policies [prompts, 31], mean over prompts: 0 equal, 1 disjoint."""
    return float(np.abs(a - b).sum(-1).mean() / 2)


def build_world(model: Any, *, beta: float, num_prompts: int = NUM_PROMPTS, seed: int = 0) -> World:
    """Prompts of three letters, and a reward drawn from a normal distribution for each completion of each."""
    rng = np.random.default_rng(seed)
    words = ["".join(letters) for letters in itertools.product(LETTERS, repeat=3)]
    prompts = [words[i] for i in sorted(rng.choice(len(words), num_prompts, replace=False))]
    rewards = rng.normal(size=(num_prompts, len(STRINGS)))
    return World(prompts, rewards, completion_probabilities(model, prompts), beta)


def write_reference(folder: Path, *, seed: int = 0) -> None:
    """A Llama of 83,000 weights with random ones, and its tokeniser of one token a letter."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(LETTERS) + 1,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=END,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {**{letter: i for i, letter in enumerate(LETTERS)}, "</s>": END}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def completion_probabilities(model: Any, prompts: list[str]) -> np.ndarray:
    """[prompts, 31] exact probability of every completion, from one forward of every prompt and letter."""
    ids = torch.tensor([[LETTERS.index(letter) for letter in prompt] for prompt in prompts])
    first = torch.arange(len(LETTERS)).repeat(len(prompts))[:, None]
    rows = torch.cat([ids.repeat_interleave(len(LETTERS), 0), first], 1)
    logits = model(input_ids=rows.to(model.device)).logits[:, -2:].double().cpu()
    probs = logits.softmax(-1).view(len(prompts), len(LETTERS), 2, -1)
    one, two = probs[:, 0, 0], probs[:, :, 1]
    ended = one[:, : len(LETTERS)] * two[:, :, END]
    cut = one[:, : len(LETTERS), None] * two[:, :, : len(LETTERS)]
    found: np.ndarray = torch.cat([one[:, END:], ended, cut.flatten(1)], 1).numpy()
    return found


def write_groups(
    folder: Path, world: World, *, mixture: str, k: int, completions_per_prompt: int, seed: int
) -> None:
    """An artifact as stage ``score`` leaves it: logged groups of K completions, written by two samplers."""
    rng = np.random.default_rng([seed, MIXTURES.index(mixture), k])
    begin(folder)
    with GroupWriter(folder) as writer:
        for number in range(completions_per_prompt // k):
            for p, prompt in enumerate(world.prompts):
                turns = [sampler[p] for sampler in world.samplers(mixture)] * k
                drawn = [int(rng.choice(len(STRINGS), p=sampler)) for sampler in turns[:k]]
                writer.write("train", _group(world, p, prompt, drawn, number))
    seal(
        folder,
        schema="scored",
        stage="score",
        rows=sum(writer.num_groups.values()),
        config={"mixture": mixture, "k": k, "seed": seed},
        parents={},
    )


def _group(world: World, p: int, prompt: str, drawn: list[int], number: int) -> Group:
    completions = [
        Completion(text=STRINGS[y], finished=len(STRINGS[y]) < 2, reward=float(world.rewards[p, y]))
        for y in drawn
    ]
    return Group(prompt_id(f"{prompt} {number}"), prompt, completions)
