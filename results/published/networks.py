"""Which network a published row ran: one of ours, or another, and then why the two are not to be set side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

SERVING = "a language model that no workload here has the size of"
REDDI = "V. J. Reddi and others, arXiv 1911.02549, table I"
VGG = "K. Simonyan, A. Zisserman, arXiv 1409.1556, table 1, counted layer by layer"


@dataclass(frozen=True)
class Network:
    """`names` are how tables write it. `workload` is ours that is the same network, None with `why` there is none.

    `flops` of a sample (two for a multiplication and an addition) and `parameters`, where `source` tells them.
    """

    names: tuple[str, ...]
    workload: str | None
    why: str
    flops: float | None = None
    parameters: int | None = None
    source: str = ""


NETWORKS = (
    Network(
        ("resnet", "resnet50", "resnet-50", "resnet50-v1.5", "resnet-50 v1.5"), "resnet50",
        "MLPerf's ResNet-50 v1.5 at 224 x 224", 8_178_368_512, 25_557_032, "our card",
    ),
    Network(
        ("mobilenet v2 (224x224)", "mobilenet-v2", "mobilenetv2", "mobilenet-v2-precision_float-1.0-224"),
        "mobilenetv2", "width 1.0 at 224 x 224", 601_548_544, 3_504_872, "our card",
    ),
    Network(
        ("bert-base", "bert-base-uncased", "bert-base seq128"), "bert-base",
        "12 layers, 128 tokens", 22_348_431_360, 109_482_240, "our card",
    ),
    Network(("tiny-kws",), "kws", "MLPerf Tiny's DS-CNN", 5_313_536, 23_756, "our card"),
    Network(("tiny-ic",), "resnet8", "MLPerf Tiny's ResNet-8", 25_003_264, 78_186, "our card"),
    Network(("tiny-ad",), "autoencoder", "MLPerf Tiny's autoencoder", 528_384, 267_928, "our card"),
    Network(("tiny-vww",), None, "MobileNet v1 of width 0.25 at 96 x 96: no workload here is this network"),
    Network(
        ("bert-99", "bert-99.9", "bert-large"), None, "BERT-Large, 24 layers and 384 tokens; bert-base has 12 and 128",
    ),
    Network(("resnet-50 v1 (299x299)",), None, "ResNet-50 at 299 x 299: 1.8 times the work of ours at 224 x 224"),
    Network(("resnet-50 v2 (299x299)",), None, "ResNet-50 v2, another order of layers, at 299 x 299; ours is v1.5"),
    Network(
        ("mobilenet v1", "mobilenet v1 (224x224)", "mobilenet-v1"), None,
        "MobileNet v1: no workload here is this network", 1.138e9, 4_200_000, REDDI,
    ),
    Network(
        ("ssd-resnet34-1200", "ssd-resnet34"), None, "SSD-ResNet-34: no workload here is this network",
        433e9, 36_300_000, REDDI,
    ),
    Network(
        ("vgg16", "vgg16 (224x224)"), None, "VGG16: no workload here is this network", 30_940_528_640, 138_357_544, VGG,
    ),
    Network(
        ("vgg19", "vgg19 (224x224)"), None, "VGG19: no workload here is this network", 39_264_124_928, 143_667_240, VGG,
    ),
)  # fmt: skip
LANGUAGE = ("llama", "mixtral", "deepseek", "gpt", "qwen")
OTHER = Network((), None, "no workload here is this network")
LANGUAGE_MODEL = Network((), None, SERVING)

_BY_NAME = {name: network for network in NETWORKS for name in network.names}


@lru_cache(maxsize=1024)
def network_of(workload: str) -> Network:
    """The network that a table's words mean; OTHER where nobody has said which that is."""
    name = workload.lower().strip()
    return _BY_NAME.get(name) or (LANGUAGE_MODEL if name.startswith(LANGUAGE) else OTHER)
