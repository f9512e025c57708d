"""What a record holds as evidence: of its outputs, of where it ran, of the energy it took, of what a compiler says.

Schema and rules are those of `results/record.py`, which has the record itself.
"""

from __future__ import annotations

from typing import Literal

from results.strict import Count, Explained, Name, Number, Share, Strict, Text


class OutputCheck(Strict):
    """Evidence against golden, of `n` distinct inputs; see bench/audit/correctness.py for how each is read.

    `identity_hits` counts outputs whose nearest golden is their own; `centred_cosine_min` is the worst one.
    `cosine_required` and `relative_error_allowed` are the workload's tolerance at this precision.
    """

    n: Count
    finite: bool
    identity_hits: Count
    centred_cosine_min: float
    cosine_required: float
    relative_error_max: Number
    relative_error_allowed: Number | None = None


class QualityResult(Explained):
    """The card's metric on `n` evaluation examples, from the artefact that was timed.

    `scores_file` holds each example's grade as a little-endian float64, in the order of the examples, for paired tests
    with another artefact's: of the same examples, which `examples_sha256` names.
    """

    value: float
    n: Count
    standard_error: Number
    scores_file: Name | None = None
    examples_sha256: Name | None = None


class Artefact(Explained):
    """What the engine started from, and what making it took.

    `stored_bytes` is its size where it is kept, `unpacked_bytes` where the engine reads it: more, if it was compressed.
    `kind`: "file", or "memory" for weights that an engine holds and no file does. `steps` are what somebody had to do
    beyond running fp32; `making_s` is the wall time of quantising and `training_s` the processor time of training that
    went into it, with `samples` of calibration and training data, the former named by `samples_sha256`.
    """

    kind: Literal["file", "memory"]
    form: Name
    stored_bytes: Count | None = None
    unpacked_bytes: Count | None = None
    unpack_ns: Count | None = None
    parameters: Count | None = None
    zero_share: Share | None = None
    steps: tuple[Text, ...] = ()
    making_s: Number | None = None
    training_s: Number | None = None
    samples: Count | None = None
    samples_sha256: Name | None = None


class Kernels(Explained):
    """What the engine really executed in one run, from its own profile (`source`).

    `kernels` counts matrix products and convolutions by what they computed in, `time_share` is of the time of all
    kernels. `names` are those that ran most, as the engine calls them.
    """

    source: Text
    kernels: dict[Name, Count]
    names: dict[Text, Count]
    time_share: dict[Name, Share] | None = None


class Training(Strict):
    """Whether steps of training train: the loss on one batch at the first and at the last of `steps` of them.

    Of the `parameters` that are trained, `reached` lie in tensors that had a gradient in the last step, `changed` in
    tensors that are not as they began.
    """

    loss_before: float
    loss_after: float
    steps: Count
    parameters: Count
    reached: Count
    changed: Count


class Placement(Strict):
    """Proof of where the work ran: the `share` of the graph, 0 to 1, on the device asked for."""

    device: Name
    share: Share
    proof: Text


class SameInput(Strict):
    """MLPerf's TEST04: the time of a query that repeats one input over that of rotating inputs, in `pairs` of blocks.

    `low` and `high` are the 95 % interval of `ratio`.
    """

    ratio: Number
    low: Number
    high: Number
    pairs: Count


class Stages(Explained):
    """Medians of `queries` queries, each timed stage by stage after the window.

    `device_ns`: as the device counted. `enqueue_ns`: of the run, until the host had handed all of it to the device.
    """

    queries: Count
    put_ns: Count
    run_ns: Count
    get_ns: Count
    device_ns: Count | None = None
    enqueue_ns: Count | None = None


class Energy(Explained):
    """Energy of the timed window, gross, and over the idle machine's, net.

    `power_valid` is False with reason codes in `power_reasons` (`results/energy.py`), None where no meter was read.
    `check_j` is a second, independent figure (sampled power beside a counter). `readings_file` keeps the raw readings.
    """

    method: Literal["counter", "sampled", "none"] = "none"
    meter: Name = "none"
    scope: Name = "none"
    energy_j: Number | None = None
    net_energy_j: Number | None = None
    idle_w: Number | None = None
    check_j: Number | None = None
    readings: Count = 0
    gap_max_ns: Count | None = None
    power_valid: bool | None = None
    power_reasons: tuple[Name, ...] = ()
    readings_file: Name | None = None


class Estimate(Explained):
    """What a compiler or a simulator says of the model on hardware that is not here: nothing in it was measured.

    `source` is the tool with its version, `caveat` its own warning. `flops` are the compiler's count for one run.
    `memory_*` is the device's main memory, `sram_peak_bytes` its fast one. `fallback_operators` would run on a host's
    processor, whose time no tool counts: with any of them there is no `latency_ns`.
    """

    source: Text
    caveat: Text = ""
    latency_ns: Number | None = None
    cycles: Count | None = None
    clock_mhz: Number | None = None
    flops: Count | None = None
    memory_peak_bytes: Count | None = None
    memory_limit_bytes: Count | None = None
    sram_peak_bytes: Count | None = None
    weights_bytes: Count | None = None
    fallback_operators: Count | None = None


class Evidence(Explained):
    """What audits found. `results/checks.py` alone turns it into reason codes and a verdict.

    `outputs` were asked for before the window, `timed_outputs` were taken from it (MLPerf's TEST01).
    """

    outputs: OutputCheck | None = None
    timed_outputs: OutputCheck | None = None
    same_input: SameInput | None = None
    stages: Stages | None = None
    quality: QualityResult | None = None
    placement: Placement | None = None
    artefact: Artefact | None = None
    kernels: Kernels | None = None
    training: Training | None = None
    peak_memory_bytes: Count | None = None
