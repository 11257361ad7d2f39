#!/usr/bin/env python3
"""Parity fixtures of published rewards and metrics: part of `make parity`.

The references are torchvision's transforms on float tensors and transformers' image processor; the towers of open_clip,
transformers and timm; the package `lpips`. Weights are random: no checkpoint is needed. Inputs too large for a fixture
are a formula in whole numbers, which the tests know as well, and of large outputs a grid of pixels is kept.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import re
import string
from collections.abc import Callable

import lpips
import open_clip
import timm
import torch
from backbones import STD, list_shapes
from fixtures import FIXTURES as MODELS
from fixtures import randomise
from PIL import Image
from safetensors.torch import save_file
from text import compact
from torch import Tensor, nn
from torchvision.models import alexnet, vgg16
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from torchvision.transforms.functional import pad, resize
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipTextModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
)

REWARDS = MODELS.parents[2] / "rewards/tests/fixtures"
SIZE = 224
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BICUBIC = InterpolationMode.BICUBIC
CAPTIONS = ["a photo of a red cat", "Two   bicycles, left of the number 42"]
DINO = dict(patch_size=4, embed_dim=16, depth=5, num_heads=2)


def write(path, tensors: dict[str, Tensor], **metadata: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata |= dict(torch=torch.__version__.split("+")[0])
    save_file({key: value.detach().float().contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    print(f"{path.stem}: {path.stat().st_size // 1024} KiB")


def chirp(height: int, width: int) -> Tensor:
    """An image `[1, 3, H, W]` in steps of 1/255, of all frequencies."""
    y, x, c = torch.arange(height)[:, None], torch.arange(width), torch.arange(3)[:, None, None]
    return ((3 * x * x + 5 * y * y + 7 * x * y + 90 * c).remainder(256) / 255)[None]


def grid(values: Tensor, points: int = 24) -> Tensor:
    """`points` rows and columns from the first to the last."""
    rows, columns = (torch.arange(points) * (side - 1) // (points - 1) for side in values.shape[-2:])
    return values[..., rows, :][..., columns]


class LongestSide:
    """HPSv2's `ResizeMaxSize`: the longer side to `size`, black around the rest."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor | Image.Image) -> Tensor | Image.Image:
        height, width = image.shape[-2:] if isinstance(image, Tensor) else image.size[::-1]
        scale = self.size / float(max(height, width))
        size = [round(side * scale) for side in (height, width)]
        top, left = ((self.size - side) // 2 for side in size)
        image = resize(image, size, BICUBIC, antialias=True)
        return pad(image, [left, top, self.size - size[1] - left, self.size - size[0] - top], fill=0)


def fits(size: int) -> dict[str, Callable]:
    """Every way to a square, of tensors and of files, normalised as CLIP's."""
    normalise = Normalize(CLIP_MEAN, CLIP_STD)
    resizes = {
        "squash": Resize((size, size), BICUBIC, antialias=True),
        "crop": Compose([Resize(size, BICUBIC, antialias=True), CenterCrop(size)]),
        "pad": LongestSide(size),
    }

    def through_torchvision(fit: Callable, image: Tensor | Image.Image) -> Tensor:
        return normalise(fit(image)) if isinstance(image, Tensor) else normalise(ToTensor()(fit(image)))[None]

    def through_transformers(images: Tensor | Image.Image) -> Tensor:
        sides = dict(size=dict(shortest_edge=size), crop_size=dict(height=size, width=size))
        processor = CLIPImageProcessor(do_rescale=not isinstance(images, Tensor), **sides)
        images = list(images) if isinstance(images, Tensor) else images
        return processor(images, return_tensors="pt")["pixel_values"]

    found = {name: functools.partial(through_torchvision, fit) for name, fit in resizes.items()}
    return found | dict(crop_down=through_transformers)


def preprocess() -> None:
    """Every fit on three shapes: a grid of the output, and of the gradient of its product with another chirp."""
    found = {}
    for height, width in [(1024, 1024), (427, 640), (1000, 333)]:
        image = chirp(height, width).requires_grad_()
        grey = (0.25 + chirp(height, width) / 2).mul(255).round()  # nothing overshoots black or white
        file = Image.fromarray(grey[0].byte().permute(1, 2, 0).numpy())
        for name, fit in fits(SIZE).items():
            output = fit(image)
            (gradient,) = torch.autograd.grad(output, [image], chirp(SIZE, SIZE))
            found[f"{name}.{height}x{width}"] = grid(output)
            found[f"grad.{name}.{height}x{width}"] = grid(gradient)
            # The reference's transform of a file is the same but for its rounding, once an axis.
            difference = (fit(grey / 255) - fit(file)).abs().max().item() * max(CLIP_STD) * 255
            assert difference < 2, f"{name}: {difference} of 255"
    write(REWARDS / "preprocess.safetensors", found)


def towers(net: nn.Module, image: Callable, text: Callable, ids: Tensor) -> dict[str, Tensor]:
    """Unit embeddings by both towers, the temperature, and the gradient of the cosines with respect to the pixels."""
    pixels, unit = torch.randn(len(ids), 3, 12, 12, requires_grad=True), nn.functional.normalize
    found = dict(pixels=pixels, ids=ids, temperature=net.logit_scale.exp())
    found |= dict(image=unit(image(net, pixels)), text=unit(text(net, ids)))
    (found["grad.pixels"],) = torch.autograd.grad((found["image"] * found["text"]).sum(), [pixels])
    half = copy.deepcopy(net).bfloat16()
    return found | dict(image_bf16=unit(image(half, pixels.bfloat16()).float()))


def tokenizer() -> CLIPTokenizer:
    """The one that `text.py` trained, which has to run first."""
    return CLIPTokenizer.from_pretrained(MODELS / "text/sdxl/tokenizer")


def clip_ids(captions: list[str]) -> Tensor:
    options = dict(padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    return tokenizer()(captions, **options).input_ids


def clip_transformers() -> None:
    """Both towers as transformers saves them: QuickGELU, prompts padded with the end token."""
    torch.manual_seed(1)
    text = dict(hidden_size=12, intermediate_size=24, num_attention_heads=2, num_hidden_layers=2)
    text |= dict(vocab_size=len(tokenizer()), bos_token_id=0, eos_token_id=tokenizer().eos_token_id, projection_dim=10)
    vision = dict(hidden_size=16, intermediate_size=40, num_attention_heads=2, num_hidden_layers=2, projection_dim=10)
    vision |= dict(image_size=12, patch_size=4)
    net = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)).eval()
    randomise(net, STD)
    net.logit_scale.data.fill_(3.0)
    net.save_pretrained(MODELS / "clip_transformers")
    found = towers(
        net,
        lambda net, pixels: net.get_image_features(pixels).pooler_output,
        lambda net, ids: net.get_text_features(ids).pooler_output,
        clip_ids(CAPTIONS),
    )
    text, vision = net.config.text_config.to_dict(), net.config.vision_config.to_dict()
    text["architectures"] = ["CLIPTextModelWithProjection"]
    config = json.dumps(dict(text_config=text, vision_config=vision))
    write(MODELS / "clip_transformers.safetensors", found, config=config)


def clip_open(name: str, seed: int, mlp_ratio: float) -> None:
    """Both towers under open_clip's names: exact GELU, prompts padded with 0. The width of an MLP is rounded down."""
    torch.manual_seed(seed)
    vision = dict(layers=2, width=16, head_width=8, patch_size=4, image_size=12, mlp_ratio=mlp_ratio)
    text = dict(layers=2, width=12, heads=2, context_length=7, vocab_size=20)
    net = open_clip.model.CLIP(embed_dim=10, vision_cfg=vision, text_cfg=text).eval()
    randomise(net, STD)
    ids = torch.tensor([[18, 5, 9, 19, 0, 0, 0], [18, 1, 3, 4, 5, 6, 19]])
    found = towers(net, lambda net, pixels: net.encode_image(pixels), lambda net, ids: net.encode_text(ids), ids)
    common = dict(projection_dim=10, num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-5)
    vision = common | dict(hidden_size=16, intermediate_size=int(16 * mlp_ratio), image_size=12, patch_size=4)
    text = common | dict(hidden_size=12, intermediate_size=48, vocab_size=20, max_position_embeddings=7, eos_token_id=2)
    text["architectures"] = ["CLIPTextModelWithProjection"]
    config = json.dumps(dict(text_config=text, vision_config=vision))
    write(MODELS / f"{name}.safetensors", found, config=config)
    write(MODELS / f"{name}_weights.safetensors", net.state_dict())


def dino() -> tuple[Callable, dict[str, Tensor]]:
    """timm's network, which has DINOv2's names, with upstream's resizing of the positions and its classifier."""
    torch.manual_seed(3)
    net = timm.models.VisionTransformer(img_size=12, init_values=1.0, num_classes=0, **DINO).eval()
    head = nn.Linear(5 * 16, 7)
    for module in (net, head):
        randomise(module, STD)
    weights = {f"backbone.{name}": value.clone() for name, value in net.state_dict().items()}
    weights |= {f"head.{name}": value for name, value in head.state_dict().items()}
    weights["backbone.mask_token"] = torch.zeros(1, 16)
    net.patch_embed.strict_img_size = False

    def forward(pixels: Tensor) -> Tensor:
        side = pixels.shape[-1] // 4
        scale = (side + 0.1) / 3
        positions = net.pos_embed[:, 1:]
        if side != 3:
            positions = positions.reshape(1, 3, 3, 16).permute(0, 3, 1, 2)
            positions = nn.functional.interpolate(positions, scale_factor=(scale, scale), mode="bicubic")
            positions = positions.flatten(2).transpose(1, 2)
        x = torch.cat([net.cls_token.expand(len(pixels), -1, -1), net.patch_embed(pixels)], 1)
        x, read = x + torch.cat([net.pos_embed[:, :1], positions], 1), []
        for block in net.blocks:
            x = block(x)
            read.append(net.norm(x))
        return head(torch.cat([x[:, 0] for x in read[-4:]] + [read[-1][:, 1:].mean(1)], 1))

    return forward, weights


def dino_logits() -> None:
    """Of images smaller than the positions' and of their size."""
    forward, weights = dino()
    pixels = torch.randn(2, 3, 8, 8, requires_grad=True)
    found = dict(pixels=pixels, logits=forward(pixels), cotangent=torch.randn(2, 7))
    (found["grad.pixels"],) = torch.autograd.grad(found["logits"], [pixels], found["cotangent"])
    found["native_pixels"] = torch.randn(1, 3, 12, 12)
    found["native_logits"] = forward(found["native_pixels"])
    config = dict(image_size=12, **DINO, num_classes=7)
    write(MODELS / "dino.safetensors", weights | found, config=json.dumps(config))


AWKWARD = [
    "“curly” ‘quotes’ ‛and‟ others",
    "the ﬁrst ﬂower ﬀ oﬃce ﬄ ﬆ ﬅ Ĳsselmeer ĳ ŉ Ǆ ǅ ǆ Ǉ ǈ ǉ Ǌ ǋ ǌ Ǳ ǲ ǳ",
    "ｆｕｌｌ　ｗｉｄｔｈ， １２３ ﾊﾛｰ",
    "rock &amp; roll &lt;b&gt; &quot;loud&quot; &amp;amp; &#39;x&#39; &eacute; &hellip;",
    "a tag <b> keeps &amp;amp;",
    "a cat&rsquo;s hat, &ldquo;red&rdquo; &#8217;x&#146; &#xFB01;sh, e&#769;, &rsquo no end, &amp;rsquo; &nosuch; & alone",
    "line\r\nbreaks\u2028of\u2029all\u0085kinds\rhere",
    "\x1b[1;31mred\x1b[0m \x07bell \ufefforder \u206amark",
    "cafe\u0301 and A\u030a",
    "  spaces \t and\u00a0no-break  ",
    "emoji 🐈\u200d⬛ stay, 漢字 too, кот",
]


def cleaned() -> None:
    """What open_clip makes of captions before it tokenizes them."""
    lines = (MODELS / "text/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [*(json.loads(line) for line in lines), *AWKWARD]
    pairs = [[text, open_clip.tokenizer.whitespace_clean(open_clip.tokenizer.basic_clean(text))] for text in texts]
    path = REWARDS / "open_clip_text.json"
    path.write_text(json.dumps([pair for pair in pairs if pair[0] != pair[1] or pair[0] in AWKWARD], indent=0) + "\n")
    print(f"{len(pairs)} captions, {sum(a != b for a, b in pairs)} changed")


def whole(shape: list[int], salt: int) -> Tensor:
    """Numbers in -1 .. 1 that are the same everywhere: whole numbers, mixed."""
    x = torch.arange(math.prod(shape)) + 7919 * salt
    for _ in range(3):
        x = (x * 48271 + 11).remainder(2147483647)
        x = x ^ (x >> 15)
    return (x.double() / 2**30 - 1).float().reshape(shape)


def fill(net: nn.Module) -> nn.Module:
    """Weights that keep the size of what passes through, small biases; numbered in the order of the names."""
    for salt, (_, param) in enumerate(sorted(net.named_parameters())):
        fan_in = max(1, param[0].numel())
        param.data = whole(list(param.shape), salt) * (math.sqrt(6 / fan_in) if param.dim() > 1 else 0.1)
    return net


def perceptual() -> None:
    """The package's networks at full size, with weights from a formula; those on top are never negative."""
    found = {}
    for name in ("vgg", "alex"):
        net = lpips.LPIPS(net=name, pretrained=False, pnet_rand=True, verbose=False).eval()
        trunk = fill(nn.ModuleDict({"features": {"vgg": vgg16, "alex": alexnet}[name]().features})).features
        for stage in (net.net.slice1, net.net.slice2, net.net.slice3, net.net.slice4, net.net.slice5):
            for place, layer in stage.named_children():
                layer.load_state_dict(trunk[int(place)].state_dict())
        for index, lin in enumerate(net.lins):
            lin.model[1].weight.data = whole(list(lin.model[1].weight.shape), 100 + index).abs()
        a, b = chirp(64, 64).requires_grad_(), chirp(64, 80)[..., 16:]
        found[name] = net(a, b, normalize=True).flatten()
        (gradient,) = torch.autograd.grad(found[name].sum(), [a])
        found[f"grad.{name}"] = gradient
    write(MODELS / "lpips.safetensors", found)


def rating_head(width: int) -> nn.Module:
    """The published stack: no activations between the linear layers."""
    widths = [width, 1024, 128, 64, 16, 1]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    for place in (1, 3, 5):
        layers.insert(place, nn.Dropout(0.1))
    return fill(nn.ModuleDict({"layers": nn.Sequential(*layers)})).eval()["layers"]


def bert_tokenizer() -> BertTokenizer:
    """Lower-case words of the captions, one of them in pieces, and single letters."""
    words = sorted({word for caption in CAPTIONS for word in re.findall(r"\w+|,", caption.lower())} - {"bicycles"})
    pieces = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), "bi", "##cycle"]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*pieces, *words])]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocab)})
    folder = REWARDS / "bert_tokenizer"
    tokenizer.save_pretrained(folder)
    compact(folder / "tokenizer.json")
    return tokenizer


def image_reward() -> tuple[Callable, dict[str, Tensor], dict]:
    """Scores of pixels by timm's ViT, which has BLIP's names, transformers' copy of its text encoder, and a head."""
    torch.manual_seed(5)
    tokenizer = bert_tokenizer()
    options = dict(padding="max_length", max_length=35, truncation=True, return_tensors="pt")
    tokens = tokenizer(CAPTIONS, **options)
    sizes = dict(patch_size=4, embed_dim=16, depth=2, num_heads=2)
    image = timm.models.VisionTransformer(img_size=12, num_classes=0, **sizes).eval()
    sizes = dict(hidden_size=12, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    sizes |= dict(vocab_size=len(tokenizer), encoder_hidden_size=16, max_position_embeddings=40)
    text = BlipTextModel(BlipTextConfig(**sizes), add_pooling_layer=False).eval()
    head = rating_head(12)
    for module in (image, text):
        randomise(module, STD)
    weights = {f"blip.visual_encoder.{name}": value.clone() for name, value in image.state_dict().items()}
    weights |= {f"blip.text_encoder.{name}": value.clone() for name, value in text.state_dict().items()}

    def score(pixels: Tensor) -> Tensor:
        seen = image.forward_features(pixels)
        mask = torch.ones(seen.shape[:2], dtype=torch.long)
        inputs = dict(attention_mask=tokens.attention_mask, encoder_hidden_states=seen, encoder_attention_mask=mask)
        states = text(tokens.input_ids, is_decoder=False, **inputs).last_hidden_state
        return (head(states[:, 0]).flatten() - 0.16717362830052426) / 1.0333394966054072

    config = dict(image_size=12, patch_size=4, image_dim=16, image_depth=2, image_heads=2, vocabulary=len(tokenizer))
    config |= dict(max_tokens=40, text_dim=12, text_hidden=24, text_depth=2, text_heads=2)
    return score, weights, config


def rewards() -> None:
    """Scores of images that are not square, and their gradients with respect to the images."""
    net = CLIPModel.from_pretrained(MODELS / "clip_transformers").eval()
    clip, unit = fits(12), nn.functional.normalize
    text = unit(net.get_text_features(clip_ids(CAPTIONS)).pooler_output)
    head, (classify, _), (rate, blip, config) = rating_head(10), dino(), image_reward()
    imagenet = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    labels = torch.tensor([4, 0])

    def embed(images: Tensor, fit: str) -> Tensor:
        return unit(net.get_image_features(clip[fit](images)).pooler_output)

    def dino_class(images: Tensor) -> Tensor:
        logits = classify(resize(imagenet(images), [SIZE, SIZE], BICUBIC, antialias=True))
        return -nn.functional.cross_entropy(logits, labels, reduction="none")

    scores: dict[str, Callable] = {
        "clip": lambda images: (embed(images, "squash") * text).sum(1),
        "hps": lambda images: (embed(images, "pad") * text).sum(1),
        "pick_score": lambda images: net.logit_scale.exp() * (embed(images, "crop_down") * text).sum(1),
        "aesthetic": lambda images: head(embed(images, "crop")).flatten(),
        "dino_class": dino_class,
        "image_reward": lambda images: rate(clip["crop"](images)),
    }
    torch.manual_seed(4)
    images = torch.rand(2, 3, 20, 31, requires_grad=True)
    found = dict(images=images, labels=labels) | blip
    for name, score in scores.items():
        found[name] = score(images)
        (found[f"grad.{name}"],) = torch.autograd.grad(found[name].sum(), [images])
    write(REWARDS / "rewards.safetensors", found, captions=json.dumps(CAPTIONS), config=json.dumps(config))


def colors() -> None:
    """GenEval's colour classifier on a file: what is not the object in #999, PIL's crop, a mean over three sentences."""
    net = CLIPModel.from_pretrained(MODELS / "clip_transformers").eval()
    names = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
    unit, fit = nn.functional.normalize, fits(12)["crop"]
    torch.manual_seed(6)
    # Blocks of one colour: towers of noise would hardly tell noise from noise.
    blocks = torch.randint(0, 256, (1, 3, 5, 8)).float()
    pixels = nn.functional.interpolate(blocks, scale_factor=8, mode="nearest")[0, :, :37, :61].byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    masks = torch.rand(4, 37, 61) < 0.7
    boxes = torch.tensor([[3.5, 4.5, 30.5, 30.51], [20, 2, 60.2, 36.9], [-3.7, 20, 12.5, 45.5], [30, 8, 39, 33]])
    objects = ["cat", "tv remote", "cat", "traffic light"]
    logits = []
    for box, mask, name in zip(boxes, masks, objects):
        blank = Image.new("RGB", picture.size, "#999")
        whole = Image.composite(picture, blank, Image.fromarray(mask.numpy())) if name != "traffic light" else picture
        image = unit(net.get_image_features(fit(whole.crop(box.tolist()))).pooler_output)
        texts = []
        for color in names:
            told = [f"a photo of a {color} {name}", f"a photo of a {color}-colored {name}", f"a photo of a {color} object"]
            mean = unit(net.get_text_features(clip_ids(told)).pooler_output).mean(0)
            texts.append(mean / mean.norm())
        logits.append(100 * image[0] @ torch.stack(texts, 1))
    found = dict(picture=pixels, boxes=boxes, masks=masks, logits=torch.stack(logits))
    write(REWARDS / "colors.safetensors", found, objects=json.dumps(objects), colors=json.dumps(names))


def shapes() -> None:
    """Names and shapes of the published networks; OpenAI's and LAION's pairs as transformers has them."""
    large = dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=24)
    huge = dict(hidden_size=1280, intermediate_size=5120, num_attention_heads=16, num_hidden_layers=32)
    for name, text, vision, width in [
        ("clip_l_14", dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12), large, 768),
        ("clip_h_14", large, huge, 1024),
    ]:
        sizes = [part | dict(projection_dim=width) for part in (text, vision | dict(patch_size=14))]
        config = CLIPConfig(text_config=sizes[0], vision_config=sizes[1], projection_dim=width)
        list_shapes(name, lambda config=config: CLIPModel(config))
    for name, model in [
        ("b_32", "ViT-B-32"),
        ("b_16", "ViT-B-16"),
        ("l_14", "ViT-L-14"),
        ("g_14", "ViT-g-14"),
        ("h_14_378", "ViT-H-14-378-quickgelu"),
    ]:
        config = open_clip.get_model_config(model)
        list_shapes(f"open_clip_{name}", lambda config=config: open_clip.model.CLIP(**config))

    def dino_l_14() -> nn.Module:
        sizes = dict(img_size=518, patch_size=14, embed_dim=1024, depth=24, num_heads=16)
        net = timm.models.VisionTransformer(init_values=1.0, num_classes=0, **sizes)
        net.mask_token = nn.Parameter(torch.zeros(1, 1024))
        return net

    list_shapes("dino_l_14", dino_l_14)

    def image_reward_1() -> nn.Module:
        sizes = dict(img_size=224, patch_size=16, embed_dim=1024, depth=24, num_heads=16)
        image = timm.models.VisionTransformer(num_classes=0, **sizes)
        config = BlipTextConfig(vocab_size=30524, encoder_hidden_size=1024, num_attention_heads=12)
        text = BlipTextModel(config, add_pooling_layer=False)
        blip = nn.ModuleDict({"visual_encoder": image, "text_encoder": text})
        return nn.ModuleDict({"blip": blip, "mlp": nn.ModuleDict({"layers": rating_head(768)})})

    list_shapes("image_reward", image_reward_1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    preprocess()
    clip_transformers()
    clip_open("clip_open", 2, 4.0)
    clip_open("clip_open_uneven", 6, 2.3)
    dino_logits()
    perceptual()
    rewards()
    cleaned()
    colors()
    shapes()
