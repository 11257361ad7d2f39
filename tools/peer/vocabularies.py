#!/usr/bin/env python3
"""Token ids of the published vocabularies, ours against those of diffusers' prompt paths and of open_clip: part of `make parity`.

    DMDR_PROMPTS=FOLDER make parity

The vocabularies of CLIP, T5 and Qwen2 are taken from a crate that carries them, and laid into folders in the forms in which
pipelines are published. Nothing of that is committed: all lies in `.venv-peer/vocabularies`. Prompts are those of the text
fixtures, odd ones, and those of all files in FOLDER: JSON lines with `prompt`, tables with a column `Prompt`, text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import diffusers
import open_clip
import torch
import transformers
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline, ZImagePipeline
from text import CHAT_TEMPLATE, byte_order, prompts
from torch import Tensor, nn
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-peer/vocabularies"
CRATE = "diffusion-rs-sys-0.1.20"
URL = f"https://static.crates.io/crates/diffusion-rs-sys/{CRATE}.crate"
SHA256 = "1947b40e9b457a11baef32b105b5047227911ac48ae050e5828c5980e6a12af4"
# Header, its hash once decoded.
ARRAYS = {
    "clip_merges": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    "t5": "3166cd247de723aaa827b0c868b201d2b56f48a9cee0f5c4781a6afb1b32994e",
    "qwen_merges": "599bab54075088774b1733fde865d5bd747cbcc7a547c5bc12610e874e26f5e3",
}
# Qwen3's added tokens, from id 151643 on; the first 14 are special.
QWEN3_TOKENS = """<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> <tool_call>
</tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> <tool_response>
</tool_response> <think> </think>""".split()
ODD = [
    "", " ", "\n", "!", "wow! a cat!!", "  two   spaces  ", "a\tb\nc\r\nd", "“curly” ‘quotes’ – and — dashes…",
    "no\u00a0break\u2003wide\u3000space", "zero\u200bwidth\ufeffjoined", "e\u0301 composed \u00e9", "ﬁne ﬂow Ⅷ ½ ２",
    "ＷＩＤＥ ｌｅｔｔｅｒｓ", "ΟΔΥΣΣΕΥΣ and ΣΑΣ", "İstanbul ı", "straße STRASSE", "a 👩‍👩‍👧 and a 🏳️‍🌈", "日本語の文章と中文", "한국어 텍스트",
    "नमस्ते दुनिया", "مرحبا بالعالم", "don't I'M we'LL they'RE he'd", "it’s DON’T", "1234567890 3.14 1,000", "x" * 400,
    "word " * 300, "!" * 90, "a <|endoftext|> b", "<|startoftext|>a", "<|ENDOFTEXT|> loud", "<|im_end|>\n<|im_start|>system",
    "<think>a</think>", "</s> end", "<pad> <unk> <extra_id_3>", "x<extra_id_0>y", "&amp; &lt;b&gt; &#39;quoted&#39;",
    "<start_of_text> a <END_OF_TEXT>", "back\\slash /slash", "a_b-c.d@e#f", "control\x01\x07 signs\x7f", "\x1b[31mred\x1b[0m",
    "tab\x0bform\x0cfeed\x85next\u2028line", "\U0001d54f math \U0001f600\U0001f3fd", "q̷̧͠u̸a̵l̶", "▁ under ▁▁ score", "ĉ Ġ Ċ byte letters",
]  # fmt: skip


def archive() -> Path:
    path = FOLDER / f"{CRATE}.crate"
    if not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        request = urllib.request.Request(URL, headers={"User-Agent": "dmdr make parity"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            path.with_suffix(".part").write_bytes(answer.read())
        path.with_suffix(".part").replace(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{path}: not the file that was published; delete it and try again")
    return path


def decoded(crate: tarfile.TarFile, name: str) -> bytes:
    """The bytes of a C array, `{0x23,0x76,..}`."""
    member = f"{CRATE}/stable-diffusion.cpp/src/tokenizers/vocab/{name}.hpp"
    text = crate.extractfile(member).read().decode()
    numbers = re.findall(r"0x([0-9a-fA-F]{1,2})", text[text.index("{") :])
    content = bytes(int(number, 16) for number in numbers)
    if hashlib.sha256(content).hexdigest() != ARRAYS[name]:
        raise SystemExit(f"{member}: another content than expected")
    return content


def write(folder: Path, **files: object) -> Path:
    """A folder anew; `__` in a name stands for the dot."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        content = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def flagged(content: str, normalized: bool, special: bool = True) -> dict:
    flags = dict(lstrip=False, rstrip=False, single_word=False)
    return dict(content=content, normalized=normalized, special=special) | flags


def in_json(older: Path, tokenizer: object) -> Path:
    """The same tokenizer as transformers saves it now, in one file."""
    folder = older.with_name(f"{older.name}_json")
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer.save_pretrained(folder)
    return folder


def clip_folders(merges: bytes) -> dict[str, Path]:
    """As SDXL and SD3 have them: the second one pads with `!`."""
    pairs = merges.decode().splitlines()[1:]
    names = byte_order() + [letter + "</w>" for letter in byte_order()] + [pair.replace(" ", "") for pair in pairs]
    names += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {name: index for index, name in enumerate(names)}
    assert len(names) == len(vocab) == 49408
    start, end = (dict(flagged(name, normalized=True)) for name in names[-2:])
    common = dict(model_max_length=77, tokenizer_class="CLIPTokenizer", do_lower_case=True, errors="replace")
    roles = dict(bos_token=start, eos_token=end, unk_token=end)
    config = common | {name: token | {"__type": "AddedToken"} for name, token in roles.items()}
    files = dict(vocab__json=vocab, merges__txt=merges)
    config |= dict(pad_token=end["content"])
    special = roles | dict(pad_token=end["content"])
    first = write(FOLDER / "clip", **files, tokenizer_config__json=config, special_tokens_map__json=special)
    decoder = {"0": flagged("!", normalized=False), "49406": start, "49407": end}
    texts = dict(bos_token=start["content"], eos_token=end["content"], unk_token=end["content"], pad_token="!")
    config = common | texts | dict(added_tokens_decoder=decoder)
    second = write(FOLDER / "clip_2", **files, tokenizer_config__json=config, special_tokens_map__json=roles)
    bare = write(FOLDER / "clip_bare", **files)
    mapped = write(FOLDER / "clip_mapped", **files, special_tokens_map__json=special | dict(pad_token="!"))
    found = dict(clip=first, clip_2=second)
    found |= {f"{name}_json": in_json(path, CLIPTokenizer.from_pretrained(path)) for name, path in found.items()}
    return found | dict(clip_bare=bare, clip_mapped=mapped)


def t5_folders(backend: bytes) -> dict[str, Path]:
    """As SD3 has it, and with the vocabulary's file alone."""
    ids = json.loads(backend)["added_tokens"]
    decoder = {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in ids}
    config = dict(eos_token="</s>", pad_token="<pad>", unk_token="<unk>", extra_ids=100, legacy=True)
    config |= dict(added_tokens_decoder=decoder, tokenizer_class="T5Tokenizer", model_max_length=512)
    config |= dict(additional_special_tokens=[f"<extra_id_{index}>" for index in range(100)])
    full = write(FOLDER / "t5", tokenizer__json=backend, tokenizer_config__json=config)
    return dict(t5=full, t5_bare=write(FOLDER / "t5_bare", tokenizer__json=backend))


def qwen3_folders(merges: bytes) -> dict[str, Path]:
    """As Z-Image has it, in both forms."""
    names = byte_order() + [pair.replace(" ", "") for pair in merges.decode().splitlines()]
    vocab = {name: index for index, name in enumerate(names)}
    assert len(names) == len(vocab) == 151643
    decoder = {
        str(151643 + index): flagged(token, normalized=False, special=index < 14)
        for index, token in enumerate(QWEN3_TOKENS)
    }
    config = dict(add_bos_token=False, add_prefix_space=False, bos_token=None, eos_token="<|im_end|>", unk_token=None)
    config |= dict(pad_token="<|endoftext|>", model_max_length=131072, tokenizer_class="Qwen2Tokenizer", errors="replace")
    config |= dict(added_tokens_decoder=decoder, additional_special_tokens=QWEN3_TOKENS[1:14], chat_template=CHAT_TEMPLATE)
    older = write(FOLDER / "qwen3", vocab__json=vocab, merges__txt=merges, tokenizer_config__json=config)
    return dict(qwen3=older, qwen3_json=in_json(older, Qwen2Tokenizer.from_pretrained(older)))


def all_prompts(folder: str | None) -> dict[str, list[str]]:
    found = {"text fixtures": prompts(), "odd ones": ODD}
    for path in sorted(Path(folder).rglob("*")) if folder else []:
        name = str(path.relative_to(folder))
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[name] = [row["prompt"] for row in rows if isinstance(row, dict) and "prompt" in row]
        elif path.suffix in [".tsv", ".csv"]:
            dialect = dict(delimiter="\t", quoting=csv.QUOTE_NONE) if path.suffix == ".tsv" else {}
            rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), **dialect)
            found[name] = [row["Prompt"] for row in rows if row.get("Prompt")]
    return {name: texts for name, texts in found.items() if texts}


class Spy(nn.Module):
    """A text encoder that only remembers what it was given."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False) -> object:
        self.seen.append(input_ids)
        features = torch.zeros(*input_ids.shape, 1)

        class Output(SimpleNamespace):
            def __getitem__(self, index: int) -> Tensor:
                return features if not output_hidden_states else features[:, 0]

        return Output(hidden_states=[features] * 3)


def diffusers_ids(pipe: object, texts: list[str], encoders: list[str], **options: object) -> list[list[list[int]]]:
    """What `encode_prompt` of a pipeline gives each of its encoders."""
    pipe.encode_prompt(prompt=list(texts), device="cpu", do_classifier_free_guidance=False, **options)
    return [getattr(pipe, name).seen[-1].tolist() for name in encoders]


def sdxl(texts: list[str], first: Path, second: Path) -> list[list[list[int]]]:
    pipe = StableDiffusionXLPipeline(
        vae=None, unet=None, scheduler=None, text_encoder=Spy(), text_encoder_2=Spy(),
        tokenizer=CLIPTokenizer.from_pretrained(first), tokenizer_2=CLIPTokenizer.from_pretrained(second),
    )  # fmt: skip
    return diffusers_ids(pipe, texts, ["text_encoder", "text_encoder_2"])


def sd3(texts: list[str], first: Path, second: Path, third: Path, length: int) -> list[list[list[int]]]:
    pipe = StableDiffusion3Pipeline(
        vae=None, transformer=None, scheduler=None, text_encoder=Spy(), text_encoder_2=Spy(), text_encoder_3=Spy(),
        tokenizer=CLIPTokenizer.from_pretrained(first), tokenizer_2=CLIPTokenizer.from_pretrained(second),
        tokenizer_3=T5Tokenizer.from_pretrained(third),
    )  # fmt: skip
    encoders = ["text_encoder", "text_encoder_2", "text_encoder_3"]
    options = dict(prompt_2=None, prompt_3=None, max_sequence_length=length)
    return diffusers_ids(pipe, texts, encoders, **options)


def z_image(texts: list[str], folder: Path) -> list[list[int]]:
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    pipe = ZImagePipeline(scheduler=None, vae=None, text_encoder=Spy(), tokenizer=tokenizer, transformer=None)
    return diffusers_ids(pipe, texts, ["text_encoder"])[0]


def transformers_ids(kind: type, folder: Path, texts: list[str], length: int) -> list[list[int]]:
    tokenizer = kind.from_pretrained(folder)
    return tokenizer(list(texts), padding="max_length", max_length=length, truncation=True).input_ids


def ours(kind: str, folder: Path, length: int, texts: list[str]) -> list[list[int]]:
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/token_ids"
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [str(program), kind, str(folder), str(length)]
    result = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}: {result.stderr}")
    return [json.loads(line) for line in result.stdout.splitlines()]


def compare(path: str, expected: list[list[int]], found: list[list[int]], texts: list[str]) -> int:
    different = [index for index in range(len(texts)) if expected[index] != found[index]]
    for index in different[:5]:
        print(f"    {texts[index][:120]!r}\n      expected {expected[index][:24]}\n      found    {found[index][:24]}")
    print(f"  {path}: {len(texts)} prompts, {len(different)} differ")
    return len(different)


def paths(folders: dict[str, Path], texts: list[str]) -> list[tuple[str, Callable, tuple[str, Path, int]]]:
    """Name, the ids of the others, and the arguments of ours."""
    found = []
    for form in ["", "_json"]:
        first, second = folders[f"clip{form}"], folders[f"clip_2{form}"]
        xl = sdxl(texts, first, second)
        found += [(f"SDXL {path.name}", xl[index], ("clip", path, 77)) for index, path in enumerate([first, second])]
        for t5, length in [("t5", 256), ("t5_bare", 128)]:
            three = sd3(texts, first, second, folders[t5], length)
            found += [(f"SD3 {path.name}", three[index], ("clip", path, 77)) for index, path in enumerate([first, second])]
            found.append((f"SD3 {t5} at {length}", three[2], ("t5", folders[t5], length)))
        qwen3 = folders[f"qwen3{form}"]
        found.append((f"Z-Image {qwen3.name} at 512", z_image(texts, qwen3), ("qwen3", qwen3, 512)))
    for name in ["clip_bare", "clip_mapped"]:
        found.append((f"CLIPTokenizer {name}", transformers_ids(CLIPTokenizer, folders[name], texts, 77), ("clip", folders[name], 77)))
    theirs = open_clip.get_tokenizer("ViT-H-14")(texts).tolist()
    found += [(f"open_clip {name}", theirs, ("open_clip", folders[name], 77)) for name in ["clip", "clip_2_json"]]
    return found


def main() -> None:
    with tarfile.open(archive()) as crate:
        arrays = {name: decoded(crate, name) for name in ARRAYS}
    folders = clip_folders(arrays["clip_merges"]) | t5_folders(arrays["t5"]) | qwen3_folders(arrays["qwen_merges"])
    sets = all_prompts(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DMDR_PROMPTS"))
    if len(sets) == 2:
        print("no benchmarks: DMDR_PROMPTS names no folder of prompts")
    total = differences = 0
    for name, texts in sets.items():
        print(f"{name}:")
        for path, expected, (kind, folder, length) in paths(folders, texts):
            differences += compare(path, expected, ours(kind, folder, length, texts), texts)
            total += len(texts)
    print(f"{total} rows of ids compared, {differences} differ")
    if differences:
        raise SystemExit(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for library in [diffusers, transformers]:
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    main()
