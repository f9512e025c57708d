"""What the page explains in prose: how it was measured, and what its words mean."""

from __future__ import annotations

from results.metrics import ESTIMATED, METRICS

METHOD = (
    "Every item ran in a fresh worker process, one at a time, in a seeded random order. A worker compiles the model, "
    "compares its outputs with a reference (computed in float64; of a model of your own by fp32 onnxruntime), warms "
    "up until latencies settle, and measures until a minimum "
    "duration and a minimum number of queries are both reached. The same small kernels before and after each item tell "
    "whether the machine changed meanwhile.",
    "Latency is from host memory to host memory: inputs to the device, run, outputs back; where queries arrive at "
    "random, from when each was due. Percentiles are observed values, as in MLPerf LoadGen, and a tail percentile that "
    "the number of queries cannot support is not given: LoadGen's early-stopping estimate may stand beside it. Nothing "
    "is trimmed: outliers are counted and kept.",
    "A figure is over repeats, each a whole process. From five repeats on it is their geometric mean with a 95 % "
    "interval: Student's t on the logarithms of the repeats. Below five it is their median, the smallest and the "
    "largest are shown, and no interval is claimed.",
    "Estimated, simulated and published values are badged and stand in tables of their own: no ratio, chart or verdict "
    "ranks them with measured ones. A result whose outputs or placement are wrong is invalid: shown, struck through, "
    "and left out of every comparison.",
)
VERDICTS = (
    ("valid", "outputs, placement, warm-up and spread passed every check"),
    ("noisy", "right outputs, but a figure to be read with care; the reasons stand beside it"),
    (
        "invalid",
        "wrong or unchecked outputs, quality below its floor, work done elsewhere, a bound missed: no result",
    ),
    ("holds, exceeds, falls short", "of a claim: measured in the claimed band, in a better one, in a worse one"),
    (
        "reversed",
        "of a claim: said to be better than the CPU, or than fp32, and measured worse, or the other way round",
    ),
    ("undecided", "of a claim: too little measured to judge it by; the reason stands beside it"),
)
TERMS = (
    ("workload", "what is computed: a network with its inputs, quality metric and latency bounds"),
    ("engine", "software that compiles and runs a model on a device"),
    ("precision", "the arithmetic really used; fp32 means fp32, with TF32 and silent bf16 off"),
    ("single stream", "MLPerf's scenario: one query at a time; its figure is latency"),
    ("multi-stream", "MLPerf's scenario: one query of 8 samples at a time; its figure is latency"),
    ("server", "MLPerf's scenario: queries arrive at random; its figure is the highest rate within the latency bound"),
    ("offline", "MLPerf's scenario: all samples available at once; its figure is throughput"),
    ("cold start", "a fresh process, until its first answer and until it is steady; not one of MLPerf's scenarios"),
    ("estimate", "what a compiler predicts for hardware that is not here, from a model of it: one figure, no spread"),
    ("simulator", "the vendor's simulator computed the outputs; its time means nothing and is not shown"),
    ("published", "somebody else's figure, imported and badged: never ranked with what was measured here"),
    ("ratio", "how many times better than the baseline: throughput / baseline's, or baseline's latency / latency"),
    ("spread", "± half the width of the 95 % interval, or smallest to largest below five repeats; n counts repeats"),
    (
        "lost",
        "of a technique: the share of the quality metric that is not kept, paired with fp32 example by example",
    ),
    (
        "speaks, control",
        "of a technique: the row its claim is judged by; a row measured to compare with, never the best",
    ),
    (
        "in bound",
        "whether that share of queries answers in time: yes if the queries prove it with 99 % confidence (LoadGen's "
        "early-stopping test), no if an observed percentile is over it, n/a if they are too few to say",
    ),
    ("≥ before a cost", "a floor: the rate is not known to keep a latency bound, so serving costs at least this much"),
    ("a label beside a verdict", "a note: it says what the number is and changes no verdict"),
    (
        "LoadGen: VALID, not official",
        "MLPerf's own load generator drove it; not official: for less than its rules",
    ),
    (
        "≈ before a price or cost",
        "the machine is no known instance type: its processor is priced as the cloud instance that Prices names; "
        "--price or --owned replace the assumption",
    ),
)


def spaced(code: str) -> str:
    """A code as people read it."""
    return code.replace("_", " ")


def glossary() -> list[tuple[str, str]]:
    """Words, then verdicts, then every metric with its formula and unit."""
    return [*TERMS, *VERDICTS, *((metric.title, metric.how) for metric in (*METRICS, *ESTIMATED))]
