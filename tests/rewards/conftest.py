"""Tiny real models, made on the spot."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    ".",
    "!",
    "yes",
    "no",
    "who",
    "what",
    "is",
    "it",
    "red",
    "blue",
    "one",
    "two",
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}{{ eos_token }}"
)


def bert_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {word: i for i, word in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def llama_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    specials = ["<unk>", "<s>", "</s>"]
    vocab = {word: i for i, word in enumerate([*specials, *WORDS, "<", ">", "user", "assistant"])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    made.chat_template = template
    return made


def bert_config(**settings) -> BertConfig:
    sizes = {
        "vocab_size": len(WORDS) + 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    return BertConfig(**{**sizes, "initializer_range": 0.5, "pad_token_id": 0, **settings})


def save_llama(directory, template: str | None = None, num_labels: int = 1) -> str:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 7,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForSequenceClassification(config).save_pretrained(directory)
    llama_tokenizer(template).save_pretrained(directory)
    return str(directory)


def save_bert(directory, labels: list[str], **settings) -> str:
    torch.manual_seed(0)
    config = bert_config(
        id2label=dict(enumerate(labels)), label2id={x: i for i, x in enumerate(labels)}, **settings
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    bert_tokenizer().save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> str:
    """A decoder without chat template and without padding token."""
    return save_llama(tmp_path_factory.mktemp("text_model"))


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory) -> str:
    return save_llama(tmp_path_factory.mktemp("chat_model"), TEMPLATE)


@pytest.fixture(scope="session")
def pair_model(tmp_path_factory) -> str:
    return save_bert(tmp_path_factory.mktemp("pair_model"), ["score"])


@pytest.fixture(scope="session")
def nli_model(tmp_path_factory) -> str:
    return save_bert(tmp_path_factory.mktemp("nli_model"), ["contradiction", "Entailment", "neutral"])


@pytest.fixture(scope="session")
def embedder(tmp_path_factory) -> str:
    modules = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules", reason="needs the extra 'rewards'"
    )
    from sentence_transformers import SentenceTransformer

    base = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    BertModel(bert_config()).save_pretrained(base)
    bert_tokenizer().save_pretrained(base)
    transformer = modules.Transformer(str(base), max_seq_length=16)
    pooling = modules.Pooling(transformer.get_embedding_dimension())
    directory = tmp_path_factory.mktemp("embedder")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(directory))
    return str(directory)
