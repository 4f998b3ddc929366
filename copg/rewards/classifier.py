"""Sequence classifiers: loaded with care, run in batches of like lengths, on every GPU there is."""

import copy
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from copg.errors import ModelError
from copg.lm.batches import length_batches
from copg.lm.checkpoint import load_checkpoint
from copg.lm.tokenizer import auto_tokenizer
from copg.progress import track
from copg.rewards.contract import RecordFault

Encoding = Mapping[str, Sequence[int]]
"""``input_ids`` of one sequence, and ``token_type_ids`` where the model has them; no padding."""


def pick_devices() -> list[torch.device]:
    """Every GPU there is, else the CPU."""
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] or [torch.device("cpu")]


class Classifier:
    """A model with a classification head, its tokeniser and its limits."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None,
        dtype: torch.dtype,
        max_tokens: int | None = None,
        devices: Sequence[torch.device] | None = None,
    ) -> None:
        """Load the model, once a device.

        Raises:
            ModelError: nothing there, no safetensors, or weights missing (of a bare language model the
                head's), of another shape or not finite.
        """
        self.name = model
        try:
            self.config: Any = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
            self.tokenizer: Any = auto_tokenizer(model, revision)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{model}: no classifier can be loaded: {str(error).splitlines()[0]}") from None
        loaded = load_checkpoint(
            AutoModelForSequenceClassification,
            model,
            revision=revision,
            dtype=dtype,
            advice="a classifier is needed, not a bare language model",
        )
        limits = [self.tokenizer.model_max_length, getattr(self.config, "max_position_embeddings", None)]
        self.max_tokens: int = max_tokens or min(limit for limit in limits if limit)
        devices = devices or pick_devices()
        self._models = [copy.deepcopy(loaded).eval().to(device) for device in devices[1:]]
        self._models.append(loaded.eval().to(devices[0]))

    def logits(self, encodings: Sequence[Encoding], *, tokens_per_batch: int) -> list[list[float]]:
        """[N][labels] the head's values of each sequence.

        Sequences are sorted by length and cut into batches of at most so many tokens, padding included;
        each model takes the next batch when it is free.
        """
        batches = length_batches([len(e["input_ids"]) for e in encodings], tokens_per_batch)
        idle: SimpleQueue[Any] = SimpleQueue()
        for model in self._models:
            idle.put(model)

        def run(batch: list[int]) -> list[list[float]]:
            model = idle.get()
            try:
                return self._forward(model, [encodings[i] for i in batch])
            finally:
                idle.put(model)

        found: list[list[float]] = [[] for _ in encodings]
        with ThreadPoolExecutor(len(self._models)) as pool:
            done = zip(batches, pool.map(run, batches), strict=True)
            for batch, values in track(done, "classify", total=len(batches)):
                for i, value in zip(batch, values, strict=True):
                    found[i] = value
        return found

    @torch.inference_mode()
    def _forward(self, model: Any, encodings: Sequence[Encoding]) -> list[list[float]]:
        values: list[list[float]] = forward(model, encodings).tolist()
        return values

    def check_finite(self, index: int, values: Sequence[float]) -> None:
        """See that it gave numbers for a completion.

        Raises:
            RecordFault: one of them is not finite; names the kind of the model and its precision.
        """
        for value in values:
            if not math.isfinite(value):
                what = f"model type {self.config.model_type!r} in {self._models[0].dtype}"
                raise RecordFault(index, f"{what} gave {value}, no finite number")


def forward(model: Any, encodings: Sequence[Encoding]) -> Tensor:
    """[N, labels] logits of a sequence classifier, for sequences padded on the right.

    A decoder's head reads the last token that is no padding, and finds it by the id of padding; where the
    model has no such id, the head is asked at every position, and the last one of each sequence is taken.

    Raises:
        ModelError: the forward fails; names the kind of the model.
    """
    # by name: values of a reward do not depend on how language models are loaded
    with import_module("copg.lm.load").forward_errors(model, "scores of sequences"):
        return _forward(model, encodings)


def _forward(model: Any, encodings: Sequence[Encoding]) -> Tensor:
    pad_id = model.config.pad_token_id
    inputs = {
        key: _pad([e[key] for e in encodings], pad_id or 0 if key == "input_ids" else 0).to(model.device)
        for key in encodings[0]
    }
    lengths = [len(e["input_ids"]) for e in encodings]
    inputs["attention_mask"] = _pad([[1] * length for length in lengths], 0).to(model.device)
    if pad_id is not None or not hasattr(model, "score"):
        logits: Tensor = model(**inputs).logits
    else:
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        hidden = bare.base_model(**inputs).last_hidden_state
        logits = bare.score(hidden)[range(len(lengths)), [length - 1 for length in lengths]]
    return logits.float()


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
