import math

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from copg.errors import RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.similarity import Similarity


def direct(model: str, a: str, b: str) -> float:
    """Cosine of mean-pooled last states, by the library itself."""
    tokenizer, loaded = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    with torch.inference_mode():
        u, v = (loaded(**tokenizer(x, return_tensors="pt")).last_hidden_state[0].mean(0) for x in (a, b))
    return float(u @ v) / math.sqrt(float(u @ u) * float(v @ v))


def test_it_is_the_cosine_to_the_closest_reference(embedder) -> None:
    completions, references = (
        ["the cat sat", "a dog", "no"],
        [["the cat sat"], "the red dog ran", ["it is", "no !"]],
    )
    expected = [
        1.0,
        direct(embedder, "a dog", "the red dog ran"),
        max(direct(embedder, "no", "it is"), direct(embedder, "no", "no !")),
    ]
    rows = [{"references": r} for r in references]
    assert Similarity(model=embedder)(["p"] * 3, completions, rows) == pytest.approx(expected, abs=1e-5)
    alone = [Similarity(model=embedder)(["p"], [c], [r])[0] for c, r in zip(completions, rows, strict=True)]
    assert alone == pytest.approx(expected, abs=1e-5)


def test_a_text_too_long_is_refused_by_name_or_cut(embedder) -> None:
    mixture = build_mixture([RewardSpec("similarity", params={"model": embedder})])
    long = "the cat sat on " * 4
    with pytest.raises(RewardError, match=r"^b: reward 'similarity': a text of 18 tokens exceeds the 16"):
        mixture(["p", "p"], ["a", long], [{"references": "a"}] * 2, sources=["a", "b"])
    cut = Similarity(model=embedder, too_long="cut")(["p"], [long], [{"references": "the cat sat on " * 5}])
    assert cut == pytest.approx([1.0])
