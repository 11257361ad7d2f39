"""What an update computes and sends for published models, by shapes of weights in `crates/models/tests/shapes`.

A matrix that is applied to `r` rows takes two operations a row and weight: a multiplication and an addition. Attention
of `t` queries to `k` keys of width `d` takes `4 t k d`. `scaling.py check` compares with what `dmdr bench` counts.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import gpu_shapes

SHAPES = Path(__file__).resolve().parent.parent / "crates/models/tests/shapes"
F32, BF16 = 4, 2
# Towers of CLIP ViT-H/14 behind the rewards: tokens of an image of 224 pixels with patches of 14, and of a caption.
CLIP_TOKENS, CLIP_TEXT, CLIP_WIDTHS = 257, 77, {"vision_model": 1280, "text_model": 1024}


class Layer(NamedTuple):
    """A matrix or a convolution: its weight's shape, and the rows that one image gives it."""

    name: str
    shape: tuple[int, ...]
    rows: float

    @property
    def operations(self) -> float:
        """Of one image on the way there."""
        return 2 * self.rows * math.prod(self.shape)

    def adapter(self, rank: int) -> int:
        """Numbers of an adapter of `rank` beside it."""
        return rank * (self.shape[0] + math.prod(self.shape[1:]))

    def adapter_operations(self, rank: int) -> float:
        """Of an adapter that is applied to all rows."""
        return 2 * self.rows * self.adapter(rank)

    def merging(self, rank: int) -> float:
        """Of an adapter's product, which is added to the weight once a call."""
        return 2 * rank * math.prod(self.shape)


class Network(NamedTuple):
    """The layers of a network with their rows, and operations of its attentions for one image."""

    layers: list[Layer]
    attention: float
    parameters: int
    # Of one image, of layers that read the text: nobody asks for the gradient of that.
    of_text: float = 0.0

    @property
    def forward(self) -> float:
        """Operations of one evaluation of one image."""
        return self.attention + sum(layer.operations for layer in self.layers)

    def targets(self, patterns: tuple[str, ...]) -> list[Layer]:
        """Layers whose names fit one of `patterns`."""
        return [layer for layer in self.layers if any(fnmatch.fnmatch(layer.name, pattern) for pattern in patterns)]


class Model(NamedTuple):
    """A model at a resolution, and what its recipe trains on it."""

    name: str
    shapes: str
    vae: str
    targets: tuple[str, ...]
    batch: int
    text: int
    size: int = 1024
    ttur: int = 5
    ranks: tuple[int, int] = (64, 32)
    steps: int = 4
    # Widths and what they are instead, for a check of the formulas on a small network.
    narrow: dict[int, int] = {}


SD3_TARGETS = ("transformer_blocks.*.attn*",)
Z_TARGETS = ("layers.*.attention.*",)
SDXL_TARGETS = (
    *("*.to_q", "*.to_k", "*.to_v", "*.to_out.0", "*.proj_in", "*.proj_out", "*.ff.net.*"),
    *("*.conv1", "*.conv2", "*.conv_shortcut", "*samplers.0.conv", "*.time_emb_proj"),
)
# As in configs/*.toml, but all at 1024 pixels and 8 prompts for a card.
MODELS = [
    Model("SD3-Medium", "sd3_medium", "sd3_vae", SD3_TARGETS, 8, 77 + 128),
    Model("SDXL", "sdxl_unet", "sdxl_vae", SDXL_TARGETS, 8, 77),
    Model("SD3.5-Large", "sd35_large", "sd3_vae", SD3_TARGETS, 8, 77 + 128),
    Model("Z-Image", "z_image", "sd3_vae", Z_TARGETS, 8, 512),
]


def read_shapes(name: str, narrow: dict[int, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes by name from a file of `SHAPES`, where `{0..3}` stands for each number from 0 to 3."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (SHAPES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        pattern, *sides = line.split()
        shape = tuple((narrow or {}).get(int(side), int(side)) for side in sides)
        names = [pattern]
        while found := re.search(r"\{(\d+)\.\.(\d+)\}", names[0]):
            numbers = range(int(found[1]), int(found[2]) + 1)
            names = [re.sub(r"\{\d+\.\.\d+\}", str(number), name, count=1) for name in names for number in numbers]
        shapes.update(dict.fromkeys(names, shape))
    return shapes


def network(shapes: dict[str, tuple[int, ...]], rows: Callable[[str], float], attention: float) -> Network:
    """The network whose layers are the weights with two sides or more; `rows` gives none to what is no layer."""
    layers = [
        Layer(name.removesuffix(".weight"), shape, rows(name))
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) >= 2 and rows(name) > 0
    ]
    parameters = {name: shape for name, shape in shapes.items() if not name.endswith("pos_embed.pos_embed")}
    return Network(layers, attention, sum(math.prod(shape) for shape in parameters.values()))


def first_match(table: list[tuple[str, float]], otherwise: float) -> Callable[[str], float]:
    """The value of the first pattern that a name fits."""
    return lambda name: next((value for pattern, value in table if fnmatch.fnmatch(name, pattern)), otherwise)


def sd3(shapes: dict[str, tuple[int, ...]], side: int, text: int) -> Network:
    """The MMDiT: image and text have weights of their own and meet in one attention."""
    image = (side // 2) ** 2
    table = [("pos_embed.pos_embed", 0), ("time_text_embed.*", 1), ("*norm*.linear.*", 1), ("norm_out.*", 1)]
    table += [
        ("context_embedder.*", text),
        ("*.add_*_proj.*", text),
        ("*.to_add_out.*", text),
        ("*.ff_context.*", text),
    ]
    width = shapes["pos_embed.proj.weight"][0]
    blocks = sum(name.endswith("attn.to_q.weight") for name in shapes)
    return network(shapes, first_match(table, image), blocks * 4 * (image + text) ** 2 * width)


def z_image(shapes: dict[str, tuple[int, ...]], side: int, text: int) -> Network:
    """One stream for image and caption, each padded to a multiple of 32, behind refiners of their own."""
    padded = math.ceil(text / 32) * 32
    image, whole = (side // 2) ** 2, math.ceil((side // 2) ** 2 / 32) * 32
    table = [("*adaLN_modulation*", 1), ("t_embedder.*", 1), ("all_*", image), ("cap_embedder.*", text), ("*norm*", 0)]
    table += [("noise_refiner.*", whole), ("context_refiner.*", padded)]
    width = shapes["x_pad_token"][1]
    queries = [first_match(table, whole + padded)(name) for name in shapes if name.endswith("attention.to_q.weight")]
    return network(shapes, first_match(table, whole + padded), sum(4 * rows**2 * width for rows in queries))


def sdxl(shapes: dict[str, tuple[int, ...]], side: int, text: int) -> Network:
    """The UNet: each stage has the resolution of its place."""

    def pixels(name: str) -> float:
        stage = re.match(r"(down|up)_blocks\.(\d)", name)
        depth = 2 if name.startswith("mid") else 0
        if stage:
            depth = int(stage[2]) if stage[1] == "down" else 2 - int(stage[2])
        depth += ("downsamplers" in name) - ("upsamplers" in name)
        return (side / 2**depth) ** 2

    def rows(name: str) -> float:
        if "time_emb" in name or name.startswith(("time_", "add_")):
            return 1
        return text if re.search(r"attn2\.to_[kv]\.", name) else pixels(name)

    attention = 0.0
    for name, shape in shapes.items():
        if name.endswith(".to_q.weight"):
            keys = text if "attn2" in name else pixels(name)
            attention += 4 * pixels(name) * keys * shape[0]
    net = network(shapes, rows, attention)
    return net._replace(of_text=sum(layer.operations for layer in net.targets(("*attn2.to_[kv]",))))


def decoder(name: str, side: int) -> Network:
    """The autoencoder's way from a latent to an image eight times as large."""
    shapes = {name: shape for name, shape in read_shapes(name).items() if name.startswith(("decoder.", "post_quant"))}

    def rows(name: str) -> float:
        stage = re.search(r"up_blocks\.(\d)", name)
        scale = 2 ** int(stage[1]) if stage else 8 if "conv_out" in name else 1
        return (side * scale * (2 if "upsamplers" in name else 1)) ** 2

    width = shapes["decoder.conv_in.weight"][0]
    return network(shapes, rows, 4 * side**4 * width)


def clip_tower() -> tuple[float, float]:
    """Operations of CLIP ViT-H/14 for one image and for one caption."""
    shapes = read_shapes("clip_h_14")
    tokens = {"vision_model": CLIP_TOKENS, "text_model": CLIP_TEXT}

    def operations(tower: str) -> float:
        own = {
            name: shape for name, shape in shapes.items() if name.startswith(tower) and "embedding.weight" not in name
        }
        layers = sum(name.endswith("q_proj.weight") for name in own)
        attention = layers * 4 * tokens[tower] ** 2 * CLIP_WIDTHS[tower]
        return network(own, lambda _: tokens[tower], attention).forward

    return operations("vision_model"), operations("text_model")


def backbone(model: Model) -> Network:
    """The network of a model at its resolution."""
    of_family = {"sd3": sd3, "sd35": sd3, "sdxl": sdxl, "z": z_image}[model.shapes.split("_")[0]]
    return of_family(read_shapes(model.shapes, model.narrow), model.size // 8, model.text)


class Work(NamedTuple):
    """What one process computes and sends in an update; operations, and bytes."""

    # Of one iteration, of which an update has `ttur`: rollout and the fake score's way there; its way back.
    iteration: tuple[float, float]
    # Of the student: with both scores, and a reward if there is one; its way back.
    student: tuple[float, float]
    # Gradients of the fake score and of the student.
    gradients: tuple[int, int]
    # Of the frozen layers of the network, as they are held, and how many they are.
    frozen: int
    layers: int

    def operations(self, ttur: int) -> float:
        """Of an update."""
        return ttur * sum(self.iteration) + sum(self.student)


def work(model: Model, full: bool = False, reward: bool = False, recomputes: bool = True, dose: bool = False) -> Work:
    """An update of an adapter or of all weights; with `dose` the real score has the fake score's adapter (DynaDG)."""
    net = backbone(model)
    adapted = net.targets(model.targets)
    student_rank, fake_rank = (0 if full else model.ranks[0]), model.ranks[1]
    batch, forward = model.batch, net.forward
    again = forward if recomputes else 0.0

    def beside(rank: int) -> float:
        return sum(layer.adapter_operations(rank) for layer in adapted)

    def merging(rank: int) -> float:
        return sum(layer.merging(rank) for layer in adapted)

    def backward(rank: int, all_weights: bool) -> float:
        """Attention counts twice; a frozen weight once, for its input; a trained one twice."""
        products = (2 if all_weights else 1) * (forward - net.attention) - net.of_text
        adapters = 3 * beside(rank) if recomputes else 2 * beside(rank)
        return again + 2 * net.attention + products + adapters

    rollout = batch * (model.steps + 1) / 2 * forward + model.steps * merging(student_rank)
    iteration = (rollout + batch * (forward + beside(fake_rank)), batch * backward(fake_rank, False))
    views = batch * 3 * forward + (2 if dose else 1) * merging(fake_rank)
    there, back = batch * (forward + beside(student_rank)) + views, batch * backward(student_rank, full)
    if reward:
        decode, (image, text) = decoder(model.vae, model.size // 8).forward, clip_tower()
        there += batch * (decode + 2 * (image + text))
        # Decoder and towers keep nothing: once more, and once for the input.
        back += batch * 2 * (decode + 2 * image)
    trained = net.parameters if full else sum(layer.adapter(student_rank) for layer in adapted)
    gradients = (F32 * sum(layer.adapter(fake_rank) for layer in adapted), F32 * trained)
    frozen = BF16 * sum(math.prod(layer.shape) for layer in net.layers)
    return Work(iteration, (there, back), gradients, frozen, len(net.layers))


SDXL_NARROW = {width: width // 10 for width in (320, 640, 960, 1280, 1920, 2560, 5120, 10240)}
# For a check of the formulas: published depths, narrow widths, few pixels; and what a config says of these widths.
NARROW = [
    (
        Model(
            "SD3-Medium",
            "sd3_medium",
            "sd3_vae",
            SD3_TARGETS,
            2,
            77 + 64,
            256,
            2,
            (8, 4),
            2,
            {1536: 64, 6144: 256, 9216: 384, 3072: 128},
        ),
        {"num_attention_heads": 4, "attention_head_dim": 16, "caption_projection_dim": 64},
    ),
    (
        Model("SDXL", "sdxl_unet", "sdxl_vae", SDXL_TARGETS, 2, 77, 256, 1, (8, 4), 2, SDXL_NARROW),
        {"block_out_channels": [32, 64, 128], "attention_head_dim": [1, 1, 2]},
    ),
    (
        Model(
            "Z-Image", "z_image", "sd3_vae", Z_TARGETS, 2, 64, 256, 1, (8, 4), 2, {3840: 256, 10240: 682, 15360: 1024}
        ),
        {"dim": 256, "n_heads": 2, "n_kv_heads": 2},
    ),
]
Z_IMAGE = {
    "_class_name": "ZImageTransformer2DModel",
    "all_patch_size": [2],
    "all_f_patch_size": [1],
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "siglip_feat_dim": None,
    "rope_theta": 256.0,
    "t_scale": 1000.0,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
}


def pipelines() -> dict[str, gpu_shapes.Model]:
    """Pipelines by the names of `MODELS`."""
    known = {model.name: model for model in gpu_shapes.MODELS}
    like = known["SD3-Medium"]
    z = like._replace(name="Z-Image", pipeline="ZImagePipeline", config=Z_IMAGE, shift=6.0)
    return {**known, "Z-Image": z}


def counted(dmdr: str, folder: Path, model: Model, sizes: dict, sets: list[str]) -> float:
    """Operations of an update of `model`, whose config differs by `sizes`, as `dmdr bench` counts them."""
    pipeline = pipelines()[model.name]
    targets = '", "'.join(model.targets)
    small = {"vae": gpu_shapes.tiny(pipeline).vae, "batch_size": model.batch, "targets": targets}
    config = gpu_shapes.write(
        pipeline._replace(config={**pipeline.config, **sizes}, **small), folder, "cpu", "bf16", model.size
    )
    ranks = [f"student.tuning.lora.rank={model.ranks[0]}", f"fake_score.rank={model.ranks[1]}"]
    ranks = ranks[1:] if "student.tuning=full" in sets else ranks
    plan = [f"method.dmdr.ttur={model.ttur}", f"student.num_steps={model.steps}", "method.dmdr.num_updates=1"]
    plan += ["teacher.max_sequence_length=64"] if model.name != "SDXL" else []
    words = [word for value in [*ranks, *plan, *sets] for word in ("--set", value)]
    report = folder / "bench.json"
    command = [
        dmdr,
        "--quiet",
        "bench",
        str(config),
        "--random-weights",
        "--updates",
        "1",
        "--json",
        str(report),
        *words,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(report.read_text(encoding="utf-8"))["operations"]


def differences(dmdr: str) -> Iterator[tuple[str, float, float]]:
    """Operations of updates by formula and as counted: adapters, activations computed again or kept; all weights."""
    kinds = (("adapter", False, True), ("adapter, activations kept", False, False), ("all weights", True, True))
    for model, sizes in NARROW:
        for name, full, again in kinds:
            sets = [f"gradient_checkpointing={str(again).lower()}"] + (["student.tuning=full"] if full else [])
            with tempfile.TemporaryDirectory() as folder:
                count = counted(dmdr, Path(folder), model, sizes, sets)
            yield f"{model.name}, {name}", work(model, full, recomputes=again).operations(model.ttur), count
