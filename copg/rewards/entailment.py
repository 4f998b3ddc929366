"""Whether what a completion says follows from its prompt, by a model of natural language inference."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import exp
from typing import Literal

from copg.config import configuration
from copg.errors import ModelError
from copg.records import prompt_text
from copg.rewards.contract import Columns, Prompts, read_texts
from copg.rewards.weights import OfClassifier

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")  # noqa: RUF001


@configuration
class Entailment(OfClassifier):
    """Probability that the completion follows from the premise.

    Unit: probability, from 0 to 1; a completion without any word gets 0. A premise longer than the model
    reads is cut into overlapping windows, and the window that entails most counts; a hypothesis longer than
    half of what it reads is cut into pieces that count as sentences do.
    """

    model: str
    """Directory of an NLI classifier, or its name on the hub together with ``revision``."""
    label: str | None = None
    """Of entailment; None: the one label whose name says so."""
    premise: str | None = None
    """Column with the text, or texts, it must follow from; None: the prompt."""
    per: Literal["whole", "sentence"] = "whole"
    """Whether the completion is one hypothesis or each sentence is."""
    reduce: Literal["min", "mean"] = "mean"
    """Over sentences: ``min`` lets one unfounded sentence spoil all."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.premise,) if self.premise else ()

    @cached_property
    def _label(self) -> int:
        return entailment_label(self.classifier.config.id2label, self.label, self.model)

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] probabilities."""
        label = self._label
        encodings: list[dict[str, list[int]]] = []
        spans: list[list[range]] = []  # per completion and hypothesis: its windows among the encodings
        for i, text in enumerate(completions):
            texts = read_texts(columns[i], self.premise, i) if self.premise else [prompt_text(prompts[i])]
            premise = "\n".join(texts)
            spans.append([])
            for hypothesis in self._hypotheses(text):
                windows = self._windows(premise, hypothesis)
                spans[-1].append(range(len(encodings), len(encodings) + len(windows)))
                encodings += windows
        logits = self.classifier.logits(encodings, tokens_per_batch=self.tokens_per_batch)
        for i, of_one in enumerate(spans):
            for j in (j for windows in of_one for j in windows):
                self.classifier.check_finite(i, logits[j])
        probabilities = [_softmax(row)[label] for row in logits]
        reduce = min if self.reduce == "min" else _mean
        return [
            float(reduce([max(probabilities[j] for j in windows) for windows in of_one])) if of_one else 0.0
            for of_one in spans
        ]

    def _hypotheses(self, text: str) -> list[str]:
        """Sentences, or the whole; what is too long beside any premise is cut where tokens end."""
        sentences = split_sentences(text) if self.per == "sentence" else [text.strip()]
        longest = max(1, self.classifier.max_tokens // 2)
        pieces: list[str] = []
        for sentence in filter(None, sentences):
            offsets = self.classifier.tokenizer(
                sentence, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            ).offset_mapping
            cuts = [offsets[i][0] for i in range(longest, len(offsets), longest)]
            pieces += [sentence[i:j] for i, j in zip([0, *cuts], [*cuts, len(sentence)], strict=True)]
        return pieces

    def _windows(self, premise: str, hypothesis: str) -> list[dict[str, list[int]]]:
        tokenizer, limit = self.classifier.tokenizer, self.classifier.max_tokens
        alone = len(tokenizer("", hypothesis, verbose=False).input_ids)
        if alone >= limit:
            raise ModelError(f"{self.model}: max_tokens={limit} leaves no room for a premise")
        windows = tokenizer(
            premise,
            hypothesis,
            truncation="only_first",
            max_length=limit,
            stride=(limit - alone) // 2,
            return_overflowing_tokens=True,
            verbose=False,
        )
        keys = [key for key in ("input_ids", "token_type_ids") if key in windows]
        return [{key: list(windows[key][i]) for key in keys} for i in range(len(windows["input_ids"]))]


def split_sentences(text: str) -> list[str]:
    """Sentences: cut after ``. ! ?`` before white space, after full-width ones, and at line breaks."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence and sentence.strip()]


def entailment_label(id2label: Mapping[int, str], wanted: str | None, model: str) -> int:
    """The output that means entailment, by name: its place differs from model to model.

    Raises:
        ModelError: no label or several could be meant.
    """
    names = {i: name.casefold() for i, name in id2label.items()}
    if wanted is not None:
        found = [i for i, name in names.items() if name == wanted.casefold()]
    else:
        found = [i for i, name in names.items() if name.startswith("entail")]
    if len(found) != 1:
        raise ModelError(
            f"{model}: which label is entailment? set 'label' to one of {list(id2label.values())}"
        )
    return int(found[0])


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    powers = [exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
