#!/usr/bin/env python3
"""Fixture of tokenizers whose folders hold other small files than usual: part of `make parity`.

Each case is a folder of the text fixtures, without some files and with others, and the ids that transformers makes in it.
All of it goes into one JSON file; the test lays the folders out again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import transformers
from fixtures import FIXTURES
from transformers import BertTokenizer, CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

CLASSES = dict(clip=CLIPTokenizer, bert=BertTokenizer, t5=T5Tokenizer, qwen3=Qwen2Tokenizer)
BERT = "../../../../rewards/tests/fixtures/bert_tokenizer"
CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"
BACKEND = "tokenizer.json"
PROMPTS = [
    "a red cat", "a <cat-toy> on a chair", "a<cat-toy>b", "A <CAT-TOY> , loud", "wow! a cat!! !", "  two  <Tree>  there \n",
    "aTreeb Tree", "<|endoftext|> <|ENDOFTEXT|> <|StartOfText|>", "[SEP] [MASK] [pad] [PAD]", "Ein Mädchen É é", "中文\u3000two\u00a0 bicycles",
    "</s> <pad> <extra_id_1> <unk>", "<|im_end|> <think> </think>", "", "a very long prompt of a red cat, a blue chair and a dog",
]  # fmt: skip


def flags(content: str, **options: bool) -> dict:
    plain = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=False)
    return dict(content=content) | plain | options


def vocabulary(base: str) -> dict[str, int]:
    model = json.loads((FIXTURES / "text" / base / BACKEND).read_text(encoding="utf-8"))["model"]
    return model["vocab"]


def vocab_txt() -> str:
    vocab = vocabulary(BERT)
    return "".join(f"{token}\n" for token in sorted(vocab, key=vocab.get))


def published_t5() -> dict:
    """With the rules of the file of T5 1.1, which the class does not follow."""
    backend = json.loads((FIXTURES / "text/sd3/tokenizer_3" / BACKEND).read_text(encoding="utf-8"))
    spaces = dict(type="Replace", pattern=dict(Regex=" {2,}"), content=" ")
    rules = dict(type="Metaspace", replacement="▁", add_prefix_space=True)
    return backend | dict(normalizer=dict(type="Sequence", normalizers=[spaces]), pre_tokenizer=rules)


def qwen_files() -> dict:
    model = json.loads((FIXTURES / "text/z_image/tokenizer" / BACKEND).read_text(encoding="utf-8"))["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return {"vocab.json": model["vocab"], "merges.txt": "\n".join(merges) + "\n"}


def cases() -> list[dict]:
    older, newer, t5, qwen = "sdxl/tokenizer", "sd3/tokenizer", "sd3/tokenizer_3", "z_image/tokenizer"
    clip_len = len(json.loads((FIXTURES / "text" / older / "vocab.json").read_text(encoding="utf-8")))
    start, end, size = clip_len - 2, clip_len - 1, len(vocabulary(BERT))
    roles = {name: flags(text, normalized=True) for name, text in [("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>")]}
    decoder = {
        str(start): flags("<|startoftext|>", normalized=True, special=True),
        str(end): flags("<|endoftext|>", special=True),
        str(end + 1): flags("<cat-toy>", lstrip=True, rstrip=True),
        str(end + 2): flags("Tree", single_word=True, normalized=True),
    }
    qwen_start = len(qwen_files()["vocab.json"])
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    qwen_decoder = {str(qwen_start + index): flags(name, special=index < 3) for index, name in enumerate(names)}
    bert_published = dict(do_lower_case=True, model_max_length=512)
    txt = {"vocab.txt": vocab_txt()}

    def case(name: str, kind: str, base: str, files: dict, *without: str) -> dict:
        return dict(name=name, kind=kind, base=base, files=files, without=list(without))

    return [
        case("no small file", "clip", older, {}, CONFIG),
        case("the special tokens' map alone", "clip", older, {SPECIAL: roles | dict(pad_token="!")}, CONFIG),
        case("a map beside a config", "clip", older, {SPECIAL: dict(pad_token="!"), CONFIG: dict(pad_token="<|endoftext|>")}),
        case("a decoder makes the map old", "clip", older, {SPECIAL: dict(pad_token="!"), CONFIG: dict(added_tokens_decoder=decoder)}),
        case("added tokens", "clip", older, {ADDED: {"<cat-toy>": end + 1, "Tree": end + 2}}),
        case("a special added token", "clip", older, {ADDED: {"<cat-toy>": end + 1}, SPECIAL: dict(additional_special_tokens=["<cat-toy>"])}),
        case("flags of added tokens", "clip", older, {CONFIG: dict(added_tokens_decoder=decoder, pad_token="<|endoftext|>")}),
        case("json alone", "clip", newer, {}, CONFIG),
        case("json with flags in the config", "clip", newer, {CONFIG: dict(added_tokens_decoder=decoder)}),
        case("json with added tokens", "clip", newer, {ADDED: {"<cat-toy>": end + 1}}),
        case("a word as a special token", "clip", newer, {CONFIG: dict(pad_token="!", extra_special_tokens=["cat"])}),
        case("special tokens are text", "clip", newer, {CONFIG: dict(split_special_tokens=True)}),
        case("cut on the left", "clip", older, {CONFIG: dict(truncation_side="left")}),
        case("bert as published", "bert", BERT, {CONFIG: bert_published}),
        case("bert without a config", "bert", BERT, {}, CONFIG),
        case("bert with case", "bert", BERT, {CONFIG: dict(do_lower_case=False)}),
        case("bert of a word list", "bert", BERT, txt, CONFIG, BACKEND),
        case("bert of a word list with case", "bert", BERT, txt | {CONFIG: dict(do_lower_case=False)}, BACKEND),
        case("bert with accents", "bert", BERT, txt | {CONFIG: dict(strip_accents=False, tokenize_chinese_chars=False)}, BACKEND),
        case("bert with added tokens", "bert", BERT, txt | {ADDED: {"<cat-toy>": size, "Tree": size + 1}}, CONFIG, BACKEND),
        case("bert with other padding", "bert", BERT, txt | {SPECIAL: dict(pad_token="[MASK]")}, CONFIG, BACKEND),
        case("t5 alone", "t5", t5, {CONFIG: dict(extra_ids=3)}),
        case("t5 with other padding", "t5", t5, {CONFIG: dict(extra_ids=3), SPECIAL: dict(pad_token="</s>")}),
        case("t5 with the published rules", "t5", t5, {BACKEND: published_t5()}),
        case("qwen3 without a config", "qwen3", qwen, {}, CONFIG),
        case("qwen3 of older files", "qwen3", qwen, qwen_files() | {CONFIG: dict(added_tokens_decoder=qwen_decoder)}, BACKEND),
        case("qwen3 with added tokens", "qwen3", qwen, qwen_files() | {CONFIG: {}, ADDED: {n: qwen_start + i for i, n in enumerate(names)}}, BACKEND),
    ]  # fmt: skip


def ids(case: dict) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tokenizer"
        shutil.copytree(FIXTURES / "text" / case["base"], folder)
        for name in case["without"]:
            (folder / name).unlink()
        for name, content in case["files"].items():
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            (folder / name).write_text(text, encoding="utf-8")
        tokenizer = CLASSES[case["kind"]].from_pretrained(folder)
        texts = PROMPTS
        if case["kind"] == "qwen3":
            texts = [f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in texts]
        rows = tokenizer(list(texts), padding="max_length", max_length=24, truncation=True).input_ids
    files = {name: text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for name, text in case["files"].items()}
    print(f"{case['name']}: pads with {tokenizer.pad_token!r}")
    return case | dict(files=files, rows=rows)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    found = dict(prompts=PROMPTS, length=24, cases=[ids(case) for case in cases()])
    path = FIXTURES / "text/tokenizer_files.json"
    path.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")
