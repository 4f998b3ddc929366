import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from copg.artifacts import begin, seal
from copg.errors import ArtifactError, ModelError, RewardError
from copg.lm.batches import length_batches
from copg.lm.template import spoken
from copg.lm.text import TextCodec
from copg.rewards.classifier import Classifier, forward
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.registry import reward_digest
from copg.rewards.reward_model import RewardModel, encode, pick_form
from copg.training.reward_model import load_with_head
from tests.lm.test_text import build

PROMPTS = ["who sat on the mat ?", "is it red", "the", "what is it ? " * 5]
COMPLETIONS = ["the cat", "", "no ! it is blue . the dog ran", "a mat"]


def one_by_one(model: str, sequences: list[dict[str, list[int]]]) -> list[float]:
    """The library itself, one unpadded sequence at a time."""
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        return [
            loaded(**{key: torch.tensor([ids]) for key, ids in s.items()}).logits[0, 0].item()
            for s in sequences
        ]


def test_a_batch_gives_what_the_library_gives_one_by_one(text_model, chat_model, pair_model) -> None:
    rows = [{}] * len(PROMPTS)
    for model, form in ((text_model, "text"), (chat_model, "chat"), (pair_model, "pair")):
        tokenizer = AutoTokenizer.from_pretrained(model)
        assert pick_form(tokenizer) == form
        ids = [
            encode(TextCodec(tokenizer), p, c, form=form).ids
            for p, c in zip(PROMPTS, COMPLETIONS, strict=True)
        ]
        expected = one_by_one(model, ids)
        assert max(expected) - min(expected) > 0.1
        for tokens_per_batch in (1, 40, 10_000):
            reward = RewardModel(model=model, tokens_per_batch=tokens_per_batch)
            assert reward(PROMPTS, COMPLETIONS, rows) == pytest.approx(expected, abs=2e-5)


def test_a_forward_leaves_the_configuration_of_the_model_alone(text_model) -> None:
    loaded = AutoModelForSequenceClassification.from_pretrained(text_model).eval()
    assert loaded.config.pad_token_id is None
    before = loaded.config.to_dict()
    assert forward(loaded, [{"input_ids": [1, 3, 4, 2]}, {"input_ids": [1, 2]}]).shape == (2, 1)
    assert loaded.config.to_dict() == before


def test_a_forward_that_fails_is_told_with_the_kind_of_the_model(text_model) -> None:
    loaded = AutoModelForSequenceClassification.from_pretrained(text_model).eval()
    with pytest.raises(ModelError, match=r"^model type 'llama' does not compute scores of .*out of range"):
        forward(loaded, [{"input_ids": [1, 10_000]}])


def test_scores_that_are_not_finite_are_told_with_record_kind_and_precision(
    text_model, tmp_path: Path
) -> None:
    shutil.copytree(text_model, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    weights["score.weight"] = torch.full_like(weights["score.weight"], 3e38)
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    spec = RewardSpec("reward_model", params={"model": str(tmp_path / "m")})
    said = r"^f:3: reward 'reward_model': model type 'llama' in torch.float32 gave -?(inf|nan), no finite"
    with pytest.raises(RewardError, match=said):
        build_mixture([spec])(["who"], ["the cat"], [{}], sources=["f:3"])


def test_a_text_is_prompt_completion_and_end(text_model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    encoded = encode(TextCodec(tokenizer), "the cat", "sat .", form="text")
    assert tokenizer.convert_ids_to_tokens(encoded.ids["input_ids"]) == [
        "<s>",
        "the",
        "cat",
        "sat",
        ".",
        "</s>",
    ]
    assert (encoded.prompt_start, encoded.prompt_tokens) == (1, 2)


def test_a_chat_goes_through_the_template_with_one_start_token(chat_model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    expected = ["<s>", "<", "user", ">", "who", "<", "assistant", ">", "the", "cat", "</s>"]
    for prompt in ("who", [{"role": "user", "content": "who"}]):
        encoded = encode(TextCodec(tokenizer), prompt, "the cat", form="chat")
        assert tokenizer.convert_ids_to_tokens(encoded.ids["input_ids"]) == expected


def test_two_devices_share_the_batches_and_keep_the_order(text_model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    ids = [
        encode(TextCodec(tokenizer), p, c, form="text").ids for p, c in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    two = Classifier(text_model, revision=None, dtype=torch.float32, devices=[torch.device("cpu")] * 2)
    found = [row[0] for row in two.logits(ids * 5, tokens_per_batch=1)]
    assert found == pytest.approx(one_by_one(text_model, ids) * 5, abs=2e-5)


def test_what_is_too_long_is_refused_by_name_or_loses_the_start_of_its_prompt(text_model, pair_model) -> None:
    long = "one " * 59 + "who sat"
    spec = RewardSpec("reward_model", params={"model": text_model})
    with pytest.raises(RewardError, match=r"^d:2: reward 'reward_model': 67 tokens are more than the 64"):
        # start, 61 words of prompt, 4 of completion, end: 67
        build_mixture([spec])(["a", long], ["a", "the cat sat ."], [{}, {}], sources=["d:1", "d:2"])
    for model, form in ((text_model, "text"), (pair_model, "pair")):
        cut = RewardModel(model=model, too_long="cut_prompt")([long], ["the cat sat ."], [{}])
        tokenizer = AutoTokenizer.from_pretrained(model)
        over = len(encode(TextCodec(tokenizer), long, "the cat sat .", form=form).ids["input_ids"]) - 64
        shorter = " ".join(long.split()[over:])
        assert cut == RewardModel(model=model)([shorter], ["the cat sat ."], [{}])
    with pytest.raises(RewardError, match="70 tokens"):
        build_mixture([RewardSpec("reward_model", params={"model": text_model, "too_long": "cut_prompt"})])(
            ["a"], ["the " * 67], [{}]
        )


def test_a_bare_language_model_is_refused_since_its_head_would_be_random(tmp_path, text_model) -> None:
    config = LlamaConfig(vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                         num_attention_heads=2, num_labels=1)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(text_model) / name, tmp_path)
    with pytest.raises(ModelError, match=r"the first 'score.weight': they would be random; a classifier is"):
        RewardModel(model=str(tmp_path))(["a"], ["b"], [{}])


def test_a_classifier_of_several_labels_and_a_folder_without_a_model_are_refused(nli_model, tmp_path) -> None:
    with pytest.raises(ModelError, match="gives 3 numbers, a reward model gives 1"):
        RewardModel(model=nli_model)(["a"], ["b"], [{}])
    with pytest.raises(ModelError, match=r"'config\.json' is missing"):
        RewardModel(model=str(tmp_path))(["a"], ["b"], [{}])


def test_a_model_of_the_hub_must_name_its_commit() -> None:
    for revision in (None, "main"):
        with pytest.raises(ModelError, match="set revision to its commit"):
            reward_digest(RewardSpec("reward_model", params={"model": "org/model", "revision": revision}))
    digest = reward_digest(RewardSpec("reward_model", params={"model": "org/model", "revision": "0" * 40}))
    assert len(digest) == 64


def test_other_weights_are_another_reward(text_model, tmp_path) -> None:
    copied = shutil.copytree(text_model, tmp_path / "model")
    spec = RewardSpec("reward_model", params={"model": str(copied)})
    before = reward_digest(spec)
    data = bytearray((copied / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copied / "model.safetensors").write_bytes(data)
    assert reward_digest(spec) != before


def test_batches_hold_like_lengths_within_the_budget() -> None:
    # longest first: 9 | 5 5 (2 * 5 <= 12) | 3 2 1 (3 * 3 <= 12)
    assert length_batches([3, 9, 5, 1, 5, 2], 12) == [[1], [2, 4], [0, 5, 3]]
    assert length_batches([50], 12) == [[0]]
    assert length_batches([], 12) == []


def test_one_that_was_trained_here_and_changed_since_is_refused(text_model, tmp_path: Path) -> None:
    folder = tmp_path / "reward_model"
    begin(folder)
    for file in Path(text_model).iterdir():
        shutil.copy(file, folder)
    seal(folder, schema="reward_model", stage="reward", rows=1, config={}, parents={}, facts={})
    assert len(RewardModel(model=str(folder))(PROMPTS, COMPLETIONS, [{}] * 4)) == 4
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: changed since"):
        RewardModel(model=str(folder))(PROMPTS, COMPLETIONS, [{}] * 4)


def spoil(folder: Path, how: str) -> None:
    """One weight, or what lies in its place."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    first = sorted(name for name in weights if "input_layernorm" in name)[0]
    if how == "pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-4])
    elif how == "kernel":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "_attn_implementation": "someone/kernel"}))
    else:
        weights[first] = {"nan": torch.full((32,), torch.nan), "shape": torch.ones(7)}.get(
            how, weights[first]
        )
        kept = {name: each for name, each in weights.items() if name != first or how != "missing"}
        save_file(kept, file, metadata={"format": "pt"})


SPOILT = [
    ("pointer", "is a pointer of git-lfs"),
    ("truncated", "is truncated"),
    ("kernel", "would choose the code that computes attention"),
    ("missing", "lack 1 weights of model type 'llama', the first 'model.layers.0.input_layernorm.weight'"),
    ("shape", "cannot be loaded|have another shape"),
    ("nan", "holds values that are not finite"),
]


@pytest.mark.parametrize(("how", "said"), SPOILT)
def test_a_classifier_whose_files_are_not_whole_is_refused_and_so_is_a_base(
    text_model, tmp_path: Path, how: str, said: str
) -> None:
    folder = Path(shutil.copytree(text_model, tmp_path / "model"))
    spoil(folder, how)
    with pytest.raises(ModelError, match=said):
        Classifier(str(folder), revision=None, dtype=torch.float32)
    with pytest.raises(ModelError, match=said):
        load_with_head(str(folder), revision=None, lora=None, seed=0)
    if how in ("pointer", "truncated", "kernel"):  # what the files tell is told where the reward is digested
        with pytest.raises((ModelError, RewardError), match=said):
            reward_digest(RewardSpec("reward_model", params={"model": str(folder)}))


def test_a_completion_writes_no_turns_of_its_own_into_the_conversation_that_is_judged() -> None:
    template = (
        "{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
    )
    codec = TextCodec(build(template))
    ask = [{"role": "user", "content": "why"}]
    turn = codec.tokenizer.convert_tokens_to_ids("<turn>")
    text = "no<end>\n<turn>user\ngood"
    read = encode(codec, ask, text, form="chat").ids["input_ids"]
    assert read.count(turn) == 2  # the user's and the assistant's
    assert codec.tokenizer.decode(read) == codec.template.render([*ask, spoken(text)])
    plain = encode(codec, ask, "no", form="chat").ids["input_ids"]
    assert plain == codec.ids_of(codec.template.render([*ask, spoken("no")]))


KNOWS_TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{{ mood }}"
    "{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}{% if m.tool_calls %}"
    "{{ m.tool_calls | tojson }}{% endif %}<end>\n{% endfor %}"
)
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"type": "function", "id": "c1", "function": {"name": "look", "arguments": {"at": "Rome"}}}
CALLED = [
    {"role": "user", "content": "why"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "20"},
]
ASKED = {
    "tools": json.dumps([TOOL]),
    "chat_template_kwargs": {"mood": "calm", "enable_thinking": False},
    "_prompt_messages": CALLED,
}


def test_tools_calls_and_the_settings_that_it_reads_reach_the_template_of_a_reward_model() -> None:
    codec = TextCodec(build(KNOWS_TOOLS))
    words = [{"role": "user", "content": "why"}]
    read = codec.tokenizer.decode(encode(codec, words, "yes", form="chat", columns=ASKED).ids["input_ids"])
    expected = codec.tokenizer.apply_chat_template(
        [*CALLED, spoken("yes")], tools=[TOOL], mood="calm", tokenize=False
    )
    assert read == expected
    assert '"at": "Rome"' in read
    assert read.count("calm") == 1
    # cut from the front of the prompt, not of the words of the completion
    encoded = encode(codec, words, "yes", form="chat", columns=ASKED)
    rest = encoded.ids["input_ids"][encoded.prompt_start + encoded.prompt_tokens :]
    assert codec.tokenizer.decode(rest) == "<turn>assistant\nyes<end>\n"


@pytest.mark.parametrize("columns", [{"tools": [TOOL]}, {"_prompt_messages": CALLED}])
def test_a_record_whose_tools_a_reward_model_cannot_see_is_refused_by_name(columns, chat_model) -> None:
    mixture = build_mixture([RewardSpec("reward_model", params={"model": chat_model})])
    rows = [{}, {"chat_template_kwargs": {"enable_thinking": False}}, columns]
    said = r"r:3: reward 'reward_model': the chat template writes nothing of .* form: text has the reward"
    with pytest.raises(RewardError, match=said):
        mixture.parts(["who"] * 3, ["cat"] * 3, rows, ["r:1", "r:2", "r:3"])
    words = RewardModel(model=chat_model, form="text")
    assert words(["who"] * 2, ["cat"] * 2, rows[1:])[0] == words(["who"], ["cat"], [{}])[0]


def test_a_stored_value_is_of_the_tools_and_other_records_keep_theirs(chat_model, tmp_path: Path) -> None:
    spec = RewardSpec("reward_model", params={"model": chat_model, "form": "text"})
    rows = [{}, {"id": 1}, {"tools": [TOOL]}, {"tools": [TOOL], "id": 2}]
    computed = []
    for part in (rows[:1], rows[1:2], rows[2:3], rows[3:]):
        mixture = build_mixture([spec], store=str(tmp_path))
        mixture.parts(["who"], ["cat"], part, ["r:1"])
        mixture.flush()
        computed += [reward.num_computed for reward in mixture.rewards.values()]
    assert computed == [1, 0, 1, 0]
