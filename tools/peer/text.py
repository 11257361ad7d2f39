#!/usr/bin/env python3
"""Parity fixtures of the text encoders, their tokenizers and how pipelines combine them: part of `make parity`.

The references are transformers' classes and the `encode_prompt` of diffusers' pipelines. A fixture is the text part of a
pipeline's folder with small random networks, and beside it a file of values: features, gradients with respect to the
token table, and the conditioning of a few prompts. Published tokenizers cannot be had here, so the tokenizers are trained
on the prompts of the fixture, with the classes and rules of the published ones.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import diffusers
import torch
import transformers
from backbones import list_shapes, write_values
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline, ZImagePipeline
from fixtures import FIXTURES, randomise
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

FOLDER = FIXTURES / "text"
STD = 0.25
MERGES = 300
# What Qwen3's published template comes to for one message of a user.
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)


def prompts() -> list[str]:
    lines = (FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def byte_order() -> list[str]:
    """GPT-2's letters for the bytes, in the order of the published vocabularies: printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]


def train_merges(like: Tokenizer, suffix: str) -> list[tuple[str, str]]:
    """Byte pairs of the prompts, normalised and split as `like` does; the trainer of `tokenizers` breaks ties by chance."""
    words: Counter[tuple[str, ...]] = Counter()
    for text in prompts():
        for word, _ in like.pre_tokenizer.pre_tokenize_str(like.normalizer.normalize_str(text)):
            words[*word[:-1], word[-1] + suffix] += 1
    merges = []
    for _ in range(MERGES):
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                counts[pair] += count
        merges.append(max(counts, key=lambda pair: (counts[pair], pair)))
        words = Counter({merged(word, merges[-1]): count for word, count in words.items()})
    return merges


def merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    letters: list[str] = []
    for letter in word:
        if letters and (letters[-1], letter) == pair:
            letters[-1] += letter
        else:
            letters.append(letter)
    return tuple(letters)


def compact(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False), encoding="utf-8")


def clip_tokenizer(folder: Path, pad: str, as_json: bool) -> CLIPTokenizer:
    """As it was published (`vocab.json` and `merges.txt`), or as transformers 5 saves it."""
    merges = train_merges(CLIPTokenizer().backend_tokenizer, "</w>")
    names = byte_order() + [letter + "</w>" for letter in byte_order()] + ["".join(pair) for pair in merges]
    names += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {name: index for index, name in enumerate(names)}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77)
    tokenizer.save_pretrained(folder)
    if as_json:
        compact(folder / "tokenizer.json")
        return tokenizer
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def t5_tokenizer(folder: Path) -> T5Tokenizer:
    """Pieces by frequency: the trainer of `tokenizers` finds others each time."""
    counts: Counter[str] = Counter()
    for word in (f"▁{word}" for text in prompts() for word in text.split()):
        ends = [(start, end) for start in range(len(word)) for end in range(start + 1, min(start + 9, len(word) + 1))]
        counts.update(word[start:end] for start, end in ends)
    letters = [piece for piece, count in counts.items() if len(piece) == 1 and count > 1]  # rarer ones are unknown
    longer = sorted((-count * len(piece), piece) for piece, count in counts.items() if len(piece) > 1)
    pieces = sorted(letters) + [piece for _, piece in longer[:300]]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, round(math.log(counts[piece] / counts.total()), 4)) for piece in pieces]
    T5Tokenizer(vocab=vocab, extra_ids=3).save_pretrained(folder)
    compact(folder / "tokenizer.json")
    return T5Tokenizer.from_pretrained(folder)


def qwen3_tokenizer(folder: Path) -> Qwen2Tokenizer:
    merges = train_merges(Qwen2Tokenizer().backend_tokenizer, "")
    names = byte_order() + ["".join(pair) for pair in merges]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    vocab = {name: index for index, name in enumerate(names)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", additional_special_tokens=special[1:3]
    )
    tokenizer.add_tokens(special)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    compact(folder / "tokenizer.json")
    return Qwen2Tokenizer.from_pretrained(folder)


def write_ids(tokenizers: dict) -> None:
    """Tokens of all prompts, as the pipelines ask for them; padding is not written out."""
    found = {}
    for name, (tokenizer, length, is_chat) in tokenizers.items():
        texts = prompts()
        if is_chat:
            chat = dict(tokenize=False, add_generation_prompt=True, enable_thinking=True)
            texts = [tokenizer.apply_chat_template([dict(role="user", content=text)], **chat) for text in texts]
        options = dict(padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        encoded = tokenizer(texts, **options)
        counts = encoded.attention_mask.sum(1).tolist()
        rows = [row[:count] for row, count in zip(encoded.input_ids.tolist(), counts, strict=True)]
        padding = [id for row, n in zip(encoded.input_ids.tolist(), counts, strict=True) for id in row[n:]]
        assert set(padding) == {tokenizer.pad_token_id}, name
        found[name] = dict(pad=tokenizer.pad_token_id, length=length, rows=rows)
        print(f"{name}: {len(tokenizer)} tokens, prompts of {min(counts)} to {max(counts)}")
    path = FOLDER / "ids.json"
    path.write_text(json.dumps(found, separators=(",", ":")))
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


def clip(folder: Path, vocab: int, is_big: bool, is_projected: bool) -> nn.Module:
    """CLIP-L with the end token of old configs, or bigG."""
    kinds = transformers.CLIPTextModelWithProjection, transformers.CLIPTextModel
    sizes = dict(hidden_size=12, intermediate_size=24, num_attention_heads=3, projection_dim=10, hidden_act="gelu")
    if not is_big:
        sizes = dict(hidden_size=8, intermediate_size=20, num_attention_heads=2, projection_dim=6)
    ends = dict(bos_token_id=0, eos_token_id=vocab - 1 if is_big else 2)
    config = transformers.CLIPTextConfig(vocab_size=vocab, num_hidden_layers=3, **sizes, **ends)
    net = kinds[0 if is_projected else 1](config)
    randomise(net, STD)
    net.save_pretrained(folder)
    if not is_projected:  # as it was published
        path = folder / "model.safetensors"
        weights = {f"text_model.{name}": value for name, value in load_file(path).items()}
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(weights, path, metadata=dict(format="pt"))
    return net.eval()


def features(name: str, outputs: dict[str, Tensor], table: Tensor) -> dict[str, Tensor]:
    """Values of an encoder by name, and the gradient of their product with random cotangents."""
    cotangents = {key: torch.randn_like(value) for key, value in outputs.items()}
    product = sum((cotangents[key] * value).sum() for key, value in outputs.items())
    (gradient,) = torch.autograd.grad(product, [table])
    found = outputs | {f"cotangent.{key}": value for key, value in cotangents.items()} | {"grad": gradient}
    return {f"{name}.{key}": value for key, value in found.items()}


def clip_features(name: str, net: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    out = net(ids, output_hidden_states=True)
    assert len(out.hidden_states) == net.config.num_hidden_layers + 1
    found = dict(penultimate=out.hidden_states[-2], last=out.last_hidden_state)
    if isinstance(net, transformers.CLIPTextModelWithProjection):
        found["projected"] = out.text_embeds
    else:
        found["pooled"] = out.pooler_output
    return features(name, found, net.get_input_embeddings().weight) | {f"{name}.ids": ids.float()}


def sdxl() -> dict:
    folder = FOLDER / "sdxl"
    shutil.rmtree(folder, ignore_errors=True)
    first = clip_tokenizer(folder / "tokenizer", "<|endoftext|>", as_json=False)
    second = clip_tokenizer(folder / "tokenizer_2", "!", as_json=False)
    torch.manual_seed(11)
    l = clip(folder / "text_encoder", len(first), is_big=False, is_projected=False)
    g = clip(folder / "text_encoder_2", len(second), is_big=True, is_projected=True)
    pipe = StableDiffusionXLPipeline(
        vae=None, text_encoder=l, text_encoder_2=g, tokenizer=first, tokenizer_2=second, unet=None, scheduler=None
    )
    texts = [prompts()[0], "wow! a cat! und ein Mädchen", prompts()[-14]]
    tokens, no_tokens, pooled, no_pooled = pipe.encode_prompt(texts, device="cpu")
    assert not no_tokens.any() and not no_pooled.any()
    pipe.register_to_config(force_zeros_for_empty_prompt=False)
    _, no_tokens, _, no_pooled = pipe.encode_prompt(texts[0], device="cpu")
    assert no_tokens.any() and no_pooled.any()
    found = {"tokens": tokens, "pooled": pooled, "null.tokens": no_tokens, "null.pooled": no_pooled}
    for name, net, tokenizer in [("text_encoder", l, first), ("text_encoder_2", g, second)]:
        found |= clip_features(name, net, tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids)
    write_values("text/sdxl", found, prompts=json.dumps(texts), transformers=transformers.__version__)
    return {"sdxl/tokenizer": (first, 77, False), "sdxl/tokenizer_2": (second, 77, False)}


def sd3() -> dict:
    folder = FOLDER / "sd3"
    shutil.rmtree(folder, ignore_errors=True)
    first = clip_tokenizer(folder / "tokenizer", "<|endoftext|>", as_json=True)
    second = clip_tokenizer(folder / "tokenizer_2", "!", as_json=True)
    third = t5_tokenizer(folder / "tokenizer_3")
    torch.manual_seed(12)
    l = clip(folder / "text_encoder", len(first), is_big=False, is_projected=True)
    g = clip(folder / "text_encoder_2", len(second), is_big=True, is_projected=True)
    sizes = dict(d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu")
    t5 = transformers.T5EncoderModel(transformers.T5Config(vocab_size=len(third), **sizes)).eval()
    randomise(t5, STD)
    t5.save_pretrained(folder / "text_encoder_3")
    pipe = StableDiffusion3Pipeline(
        transformer=None, scheduler=None, vae=None, text_encoder=l, tokenizer=first, text_encoder_2=g,
        tokenizer_2=second, text_encoder_3=t5, tokenizer_3=third,
    )  # fmt: skip
    texts = [prompts()[-14], ""]
    tokens, no_tokens, pooled, no_pooled = pipe.encode_prompt(texts, None, None, device="cpu")
    assert no_tokens.equal(no_tokens[1:].expand_as(no_tokens)) and (no_tokens[1] - tokens[1]).abs().max() < 1e-5
    assert (no_pooled[1] - pooled[1]).abs().max() < 1e-5
    pipe.text_encoder_3 = None
    pipe.transformer = SimpleNamespace(config=SimpleNamespace(joint_attention_dim=24))
    without_t5 = pipe.encode_prompt(texts, None, None, device="cpu")[0]
    found = dict(tokens=tokens, pooled=pooled, without_t5=without_t5)
    ids = torch.randint(len(third), (2, 140))  # longer than the largest distance that is told apart
    outputs = dict(last=t5(ids).last_hidden_state)
    found |= features("text_encoder_3", outputs, t5.shared.weight) | {"text_encoder_3.ids": ids.float()}
    write_values("text/sd3", found, prompts=json.dumps(texts), transformers=transformers.__version__)
    return {"sd3/tokenizer_3": (third, 256, False)}


def z_image() -> dict:
    folder = FOLDER / "z_image"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = qwen3_tokenizer(folder / "tokenizer")
    torch.manual_seed(13)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, rms_norm_eps=1e-6)
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), tie_word_embeddings=True, rope_theta=1e6, **heads, **sizes
    )
    net = transformers.Qwen3ForCausalLM(config).eval()
    randomise(net, STD)
    net.save_pretrained(folder / "text_encoder", max_shard_size="30KB")
    pipe = ZImagePipeline(scheduler=None, vae=None, text_encoder=net, tokenizer=tokenizer, transformer=None)
    texts = [prompts()[2], "", prompts()[-14]]
    captions, nothing = pipe.encode_prompt(list(texts), device="cpu")
    assert len(nothing) == 3 and (nothing[0] - captions[1]).abs().max() < 1e-5
    found = {f"tokens.{index}": caption for index, caption in enumerate(captions)}
    ids, mask = torch.randint(len(tokenizer), (2, 20)), torch.ones(2, 20, dtype=torch.bool)
    mask[1, 13:] = False
    hidden = net(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert len(hidden) == config.num_hidden_layers + 1
    outputs = dict(first=hidden[-2][0], second=hidden[-2][1, :13])
    found |= features("text_encoder", outputs, net.model.embed_tokens.weight) | {"text_encoder.ids": ids.float()}
    write_values("text/z_image", found, prompts=json.dumps(texts), transformers=transformers.__version__)
    return {"z_image/tokenizer": (tokenizer, 512, True)}


def full_clip(is_big: bool) -> nn.Module:
    if is_big:
        sizes = dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20)
        return transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(projection_dim=1280, **sizes))
    sizes = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    return nn.ModuleDict({"text_model": transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes))})


def full_t5() -> nn.Module:
    sizes = dict(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    net = transformers.T5EncoderModel(transformers.T5Config(**sizes))
    net.encoder.embed_tokens = nn.Identity()  # a second name
    return net


def full_qwen3() -> nn.Module:
    heads = dict(num_attention_heads=32, num_key_value_heads=8, head_dim=128)
    sizes = dict(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36)
    net = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(tie_word_embeddings=True, **heads, **sizes))
    net.lm_head = nn.Identity()  # a second name
    return net


if __name__ == "__main__":
    torch.set_num_threads(1)
    for library in [diffusers, transformers]:
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    write_ids(sdxl() | sd3() | z_image())
    list_shapes("text_clip_l", lambda: full_clip(is_big=False))
    list_shapes("text_big_g", lambda: full_clip(is_big=True))
    list_shapes("text_t5_xxl", full_t5)
    list_shapes("text_qwen3_4b", full_qwen3)
