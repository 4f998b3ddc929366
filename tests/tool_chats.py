"""Chats with tools, of one turn or two, and what plain transformers says was drawn of them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from copg.data.group_files import read_groups
from copg.lm.config import ReaderConfig, TextConfig
from copg.records import MESSAGES, TOOLS, TURNS, Completion, Group
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.score import ScoreConfig, score_groups
from copg.stages.validate import ValidateConfig, validate_records

LOOK = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look up an order.",
            "parameters": {
                "type": "object",
                "properties": {"order": {"type": "integer"}, "at": {"type": "string"}},
            },
        },
    }
]
"""Its keys, as those of its calls, are not in the order of the alphabet."""


@dataclass(frozen=True)
class Marks:
    """What a template writes before an assistant's turn, and the token that ends it."""

    opens: str
    ends: str


def chat_pair(number: int) -> dict[str, Any]:
    """The chosen chat looks, and says what it found; the other guesses. Every third looked before."""
    asked = {"role": "user", "content": f"Where is order {number}?"}
    called, found = _look(number)
    before = []
    if number % 3 == 0:
        first, told = _look(number + 100)
        says = {"role": "assistant", "content": "It is on its way."}
        before = [{"role": "user", "content": f"And order {number + 100}?"}, first, told, says]
    chosen = [*before, asked, called, found, {"role": "assistant", "content": f"In shelf {number}."}]
    return {
        "chosen": chosen,
        "rejected": [*before, asked, {"role": "assistant", "content": "No idea."}],
        TOOLS: LOOK,
    }


def _look(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call as OpenAI logs it, and its result."""
    function = {"name": "look", "arguments": json.dumps({"order": number, "at": "home"})}
    call = {"id": f"call{number:05d}", "type": "function", "function": function}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    return called, {"role": "tool", "tool_call_id": call["id"], "name": "look", "content": f"found{number}"}


def save_tiny(tokenizer: Any, folder: Path) -> Path:
    """A Llama of random weights beside a tokeniser."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def branching_chats(number: int) -> list[dict[str, Any]]:
    """Four branches of one chat: one guesses, three look, and two of these look once more, elsewhere."""
    asked = {"role": "user", "content": f"Where is order {number}?"}
    called, found = _look(number)
    again, missed = _look(number + 500)

    def pair(chosen: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> dict[str, Any]:
        return {"chosen": [asked, *chosen], "rejected": [asked, *rejected], TOOLS: LOOK}

    def says(words: str) -> dict[str, Any]:
        return {"role": "assistant", "content": words}

    return [
        pair([called, found, says(f"In shelf {number}.")], [called, found, again, missed, says("No idea.")]),
        pair([called, found, again, missed, says("It is gone.")], [says("No idea.")]),
    ]


def refer(
    model: Path,
    root: Path,
    count: int,
    text: TextConfig | None = None,
    chats: Callable[[int], list[dict[str, Any]]] = lambda number: [chat_pair(number)],
) -> Path:
    """So many logs through validate, score and reference, under ``root``; the artifact that is trained on."""
    text = text or TextConfig()
    records = [record for number in range(count) for record in chats(number)]
    (root / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    reading = ValidateConfig(reader=ReaderConfig(model=str(model), text=text), select_fraction=0.2)
    validate_records(reading, str(root / "records.jsonl"), root / "groups")
    score_groups(ScoreConfig(source="given"), root / "groups", root / "scored")
    return refer_again(model, root / "scored", root, text)


def refer_again(model: Path, scored: Path, root: Path, text: TextConfig) -> Path:
    """Stage reference alone, with a store of its own."""
    config = ReferenceConfig(model=str(model), store=str(root / "store"), text=text)
    reference_groups(config, scored, root / "referenced")
    return root / "referenced"


class Plain:
    """Log-probabilities by nothing but transformers: its model, its tokeniser, its rendering."""

    def __init__(self, folder: Path, marks: Marks, **options: Any) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.marks, self.options = marks, options

    def drawn(self, group: Group, completion: Completion) -> tuple[list[int], list[tuple[int, float]]]:
        """Ids of the conversation; of every token of the assistant's its id and its log-probability in nats.

        The conversation is rendered whole, and an assistant's turn is what stands between the marks; those of
        the prompt are passed over.
        """
        prompt = group.columns.get(MESSAGES, group.prompt)
        turns = completion.columns.get(TURNS) or [{"role": "assistant", "content": completion.text}]
        rendered = self.tokenizer.apply_chat_template(
            [*prompt, *turns], tools=LOOK, tokenize=False, **self.options
        )
        pattern = f"{re.escape(self.marks.opens)}(.*?{re.escape(self.marks.ends)})"
        spans = [found.span(1) for found in re.finditer(pattern, rendered, re.DOTALL)]
        spans = spans[sum(message["role"] == "assistant" for message in prompt) :]
        assert len(spans) == sum(message["role"] == "assistant" for message in turns)
        whole = self.tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
        with torch.no_grad():
            logps = self.model(torch.tensor([whole.input_ids])).logits[0].log_softmax(-1)
        return whole.input_ids, [
            (token, float(logps[at - 1, token]))
            for at, (token, (start, _)) in enumerate(zip(whole.input_ids, whole.offset_mapping, strict=True))
            if any(low <= start < high for low, high in spans)
        ]


def compare(referenced: Path, plain: Plain) -> float:
    """Largest difference, nats a token, of what is stored of a completion and what transformers gives.

    Token by token the ids that are read are those of the conversation, and the ids that are scored those that
    transformers holds for the assistant's.
    """
    worst = 0.0
    for group in read_groups(referenced, "train"):
        for completion in group.completions:
            whole, drawn = plain.drawn(group, completion)
            ids = completion.token_ids or []
            read = [*(group.prompt_ids or ()), *(max(token, ~token) for token in ids)]
            assert read == whole[: len(read)], group.source
            scored = [token for token in ids if token >= 0]
            assert scored == [token for token, _ in drawn], group.source
            expected = sum(logp for _, logp in drawn)
            assert completion.ref_logps is not None
            worst = max(worst, abs(completion.ref_logps - expected) / len(drawn))
    return worst


def read_by(referenced: Path, tokenizer: Any) -> tuple[str, str]:
    """All that is scored, and all that is only read, of the completions of the train split, as text."""
    every = [c.token_ids or [] for g in read_groups(referenced, "train") for c in g.completions]
    scored = [token for ids in every for token in ids if token >= 0]
    read = [~token for ids in every for token in ids if token < 0]
    return tokenizer.decode(scored), tokenizer.decode(read)
