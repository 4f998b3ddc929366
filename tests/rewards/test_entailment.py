import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from copg.errors import ModelError, RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.entailment import Entailment, entailment_label, split_sentences
from copg.rewards.mixture import build_mixture


def direct(model: str, premise: str, hypothesis: str) -> float:
    """Probability of label 1, by the library itself."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        return loaded(**tokenizer(premise, hypothesis, return_tensors="pt")).logits.softmax(-1)[0, 1].item()


def test_it_is_the_probability_of_the_label_named_entailment(nli_model, tmp_path) -> None:
    model = BertForSequenceClassification.from_pretrained(nli_model)
    with torch.no_grad():
        model.classifier.weight.zero_()
        # softmax of (0, ln 3, 0) is (1/5, 3/5, 1/5)
        model.classifier.bias.copy_(torch.tensor([0.0, math.log(3), 0.0]))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(nli_model).save_pretrained(tmp_path)
    reward = Entailment(model=str(tmp_path))
    assert reward(["the cat sat"], ["a cat"], [{}]) == pytest.approx([0.6])
    assert Entailment(model=str(tmp_path), label="neutral")(["the"], ["a"], [{}]) == pytest.approx([0.2])


def test_logits_that_are_not_finite_are_told_with_record_and_kind(nli_model, tmp_path) -> None:
    model = BertForSequenceClassification.from_pretrained(nli_model)
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(nli_model).save_pretrained(tmp_path)
    spec = RewardSpec("entailment", params={"model": str(tmp_path)})
    with pytest.raises(RewardError, match=r"^f:2: reward 'entailment': model type 'bert' in torch.float32"):
        build_mixture([spec])(["the cat"] * 2, ["", "a cat"], [{}] * 2, sources=["f:1", "f:2"])


def test_labels_are_found_by_name_and_asked_for_when_in_doubt() -> None:
    assert entailment_label({0: "ENTAILMENT", 1: "not_entailment"}, None, "m") == 0
    assert entailment_label({0: "c", 1: "n", 2: "e"}, "E", "m") == 2
    for labels in ({0: "LABEL_0", 1: "LABEL_1"}, {0: "entails", 1: "entailment"}):
        with pytest.raises(ModelError, match="which label is entailment"):
            entailment_label(labels, None, "m")


def test_a_batch_gives_what_the_library_gives_one_by_one(nli_model) -> None:
    premises, texts = ["the cat sat on the mat .", "red", "is it"], ["a cat", "the dog ran . no !", "blue"]
    expected = [direct(nli_model, p, t) for p, t in zip(premises, texts, strict=True)]
    assert max(expected) - min(expected) > 0.01
    for tokens in (1, 10_000):
        reward = Entailment(model=nli_model, tokens_per_batch=tokens)
        assert reward(premises, texts, [{}] * 3) == pytest.approx(expected, abs=1e-5)


def test_sentences_are_hypotheses_of_their_own(nli_model) -> None:
    premise, one, two = "the cat sat on the mat .", "a cat sat .", "it is red !"
    p = [direct(nli_model, premise, one), direct(nli_model, premise, two)]
    for reduce, expected in (("min", min(p)), ("mean", sum(p) / 2)):
        reward = Entailment(model=nli_model, per="sentence", reduce=reduce)
        assert reward([premise], [f"{one} {two}"], [{}]) == pytest.approx([expected], abs=1e-5)


def test_saying_nothing_is_not_rewarded(nli_model) -> None:
    assert Entailment(model=nli_model)(["the cat", "a"], ["", " \n"], [{}, {}]) == [0.0, 0.0]


def test_the_premise_may_be_a_column(nli_model) -> None:
    reward = Entailment(model=nli_model, premise="document")
    found = reward(["who"], ["a cat"], [{"document": ["the cat", "sat"]}])
    assert found == pytest.approx([direct(nli_model, "the cat\nsat", "a cat")], abs=1e-5)
    mixture = build_mixture([RewardSpec("entailment", params={"model": nli_model, "premise": "document"})])
    with pytest.raises(RewardError, match="column 'document' is missing"):
        mixture(["who"], ["a cat"], [{}])


def test_the_best_window_of_a_long_premise_counts(nli_model) -> None:
    words = ("one two red blue " * 10 + "the cat sat on the mat . " + "yes no it is " * 10).split()
    # 16 tokens: 3 special, 2 of the hypothesis, so windows of 11 words, 5 of them shared: starts 0, 6, 12, ..
    starts = [*range(0, len(words) - 11, 6), None]
    windows = [words[s : s + 11] if s is not None else words[6 * (len(starts) - 1) :] for s in starts]
    assert windows[-1][-1] == words[-1]
    expected = max(direct(nli_model, " ".join(w), "a cat") for w in windows)
    reward = Entailment(model=nli_model, max_tokens=16)
    assert reward([" ".join(words)], ["a cat"], [{}]) == pytest.approx([expected], abs=1e-5)


def test_an_endless_hypothesis_is_cut_into_pieces(nli_model) -> None:
    # 16 tokens: pieces of 8 words; premise of at most 16 - 3 - 8 = 5 words
    pieces = ["one two red blue yes no it is", "the cat sat"]
    p = [direct(nli_model, "a dog ran", piece) for piece in pieces]
    reward = Entailment(model=nli_model, max_tokens=16, reduce="min")
    assert reward(["a dog ran"], [" ".join(pieces)], [{}]) == pytest.approx([min(p)], abs=1e-5)


def test_sentences_end_at_marks_and_lines_but_not_inside_numbers() -> None:
    assert split_sentences("It is 3.5 m. Really?  Yes!\nNew line\n\n") == [
        "It is 3.5 m.",
        "Really?",
        "Yes!",
        "New line",
    ]
    assert split_sentences("他来了。是吗?") == ["他来了。", "是吗?"]
    assert split_sentences(" ") == []
