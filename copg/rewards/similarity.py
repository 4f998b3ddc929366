"""Closeness in meaning to reference texts, by sentence embeddings."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.errors import ModelError
from copg.rewards.contract import Columns, OfColumn, Prompts, RecordFault, missing_package
from copg.rewards.weights import OfModel


@configuration
class Similarity(OfColumn, OfModel):
    """Cosine of the embeddings of the completion and of the closest reference.

    Unit: cosine, from -1 to 1. Pooling and normalisation are those the model's ``modules.json`` names.
    """

    model: str
    """Directory of a ``sentence-transformers`` model, or its name on the hub together with ``revision``."""
    column: str = "references"
    """Holds a text or a list of texts."""
    texts_per_batch: int = 64
    """Texts in one forward; they are sorted by length first."""
    too_long: Literal["refuse", "cut"] = "refuse"
    """Whether a text longer than the model reads is an error or loses its end."""

    without_effect: ClassVar[tuple[str, ...]] = ("model", "revision", "texts_per_batch")

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise missing_package("sentence-transformers") from None
        with self.held():
            try:
                return SentenceTransformer(
                    self.model,
                    revision=self.revision,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                )
            except (OSError, ValueError) as error:
                raise ModelError(f"{self.model}: cannot be loaded: {str(error).splitlines()[0]}") from None

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] cosines from -1 to 1."""
        references = self.texts(columns)
        owners: dict[str, int] = {}
        for i, texts in enumerate(references):
            for text in (completions[i], *texts):
                owners.setdefault(text, i)
        if self.too_long == "refuse":
            self._check_lengths(owners)
        vectors = self._model.encode(
            list(owners),
            batch_size=self.texts_per_batch,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        place = {text: row for row, text in enumerate(owners)}
        return [
            max(float(vectors[place[text]] @ vectors[place[completion]]) for text in texts)
            for completion, texts in zip(completions, references, strict=True)
        ]

    def _check_lengths(self, owners: Mapping[str, int]) -> None:
        limit = self._model.max_seq_length
        encoded = self._model.tokenizer(list(owners), truncation=False, verbose=False).input_ids
        for index, ids in zip(owners.values(), encoded, strict=True):
            if limit is not None and len(ids) > limit:
                raise RecordFault(
                    index,
                    f"a text of {len(ids)} tokens exceeds the {limit} the model reads; or set too_long: cut",
                )
