"""Steps of training with torch, on a processor and on a GPU: a run of a session is one whole step. Holds no part.

A step zeroes the gradients, computes the loss, goes backward, and has AdamW (Loshchilov, Hutter 2019) change the
weights, in the order of torch's own recipes. Reduced precisions are torch's automatic mixed precision: weights, their
gradients and the optimiser stay in fp32, and in fp16 a scaled loss keeps gradients from vanishing (Micikevicius et al.
2018).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backends.contract import Arrays, Learned, Model, Plan, Setting, Unsupported, Values
from backends.engines._torch_modes import cache, several
from backends.engines._torch_sessions import TorchSession, on_host
from backends.engines._tuning import check_arrays

if TYPE_CHECKING:
    from workloads.contract import Objective

SEED = 0
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
ADAMW: Mapping[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "fused": True}
"""torch's own defaults, written out, and its update of all weights in one kernel."""


def new_network(model: Model) -> Any:
    """The module with weights that torch draws, the same in every process; raises Unsupported."""
    import torch

    objective_of(model)
    if model.net is None:
        raise Unsupported(f"{model.name} comes as an ONNX file, which torch cannot train")
    torch.manual_seed(SEED)
    return model.net()


def objective_of(model: Model) -> Objective:
    if model.objective is None:
        raise Unsupported(f"{model.name} brings nothing to train on")
    return model.objective


def settings(objective: Objective, plan: Plan) -> dict[str, Setting]:
    """What makes a step, besides what makes an answer too."""
    return {
        "loss": objective.loss,
        "optimiser": "AdamW fused",
        "learning_rate": ADAMW["lr"],
        "weight_decay": ADAMW["weight_decay"],
        "weights": f"drawn anew, seed {SEED}",
        "train_batch": plan.batch,
        "autocast": AUTOCAST.get(plan.precision, "off"),
        "gradient_scaler": plan.precision == "fp16",
    }


class Step:
    """One step on a batch that is `put`: its inputs, then its targets. Gives the loss before the weights change."""

    def __init__(self, torch: Any, module: Any, objective: Objective, precision: str, kind: str) -> None:
        self._torch, self._module, self._objective = torch, module.requires_grad_(), objective
        self._forward: Callable[..., Any] = module
        self._optimiser = torch.optim.AdamW(module.parameters(), **ADAMW)
        self._scaler = torch.amp.GradScaler(kind, enabled=precision == "fp16")
        dtype = getattr(torch, AUTOCAST.get(precision, "bfloat16"))
        self._autocast: Callable[[], Any] = lambda: torch.autocast(kind, dtype, enabled=precision in AUTOCAST)
        self._norms = self._weights()

    def __call__(self, *values: Any) -> Any:
        loss = self._backward(values)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return loss.detach()

    def compiled(self, keep: bool, _forward: Any, values: Sequence[Any]) -> Step:
        """This step with its network compiled, forward and backward, for batches like `values`; see `cache`."""
        fast = self._torch.compile(self._module, fullgraph=True, dynamic=False)
        self._forward = fast
        with cache(keep):
            try:
                self._backward(values)
            except self._torch._dynamo.exc.Unsupported as error:
                why = str(error).splitlines()[0]
                raise Unsupported(f"torch cannot compile the network as a whole: {why}") from error
        self._optimiser.zero_grad(set_to_none=True)
        return self

    def learned(self) -> Learned:
        tensors = list(self._module.parameters())
        sizes = [tensor.numel() for tensor in tensors]
        moved = [before != now for before, now in zip(self._norms, self._weights())]
        reached = [tensor.grad is not None and bool(tensor.grad.any()) for tensor in tensors]
        return Learned(sum(sizes), _total(sizes, reached), _total(sizes, moved))

    def _backward(self, values: Sequence[Any]) -> Any:
        count = len(values) - len(self._objective.targets)
        self._optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            outputs = several(self._forward(*values[:count], *self._objective.arguments))
            loss = self._loss(outputs, values[count:])
        self._scaler.scale(loss).backward()
        return loss

    def _loss(self, outputs: Sequence[Any], targets: Sequence[Any]) -> Any:
        """In fp32, as autocast has it too."""
        functional = self._torch.nn.functional
        if self._objective.loss == "cross_entropy":
            return functional.cross_entropy(outputs[0].float().flatten(0, -2), targets[0].flatten().long())
        parts = [functional.mse_loss(output.float(), target) for output, target in zip(outputs, targets)]
        return sum(parts[1:], parts[0]) / len(parts)

    def _weights(self) -> list[float]:
        """A number for each tensor that changes with it: copies would count as memory that training needs."""
        norm, wide = self._torch.linalg.vector_norm, self._torch.float64
        return [float(norm(tensor.detach(), dtype=wide)) for tensor in self._module.parameters()]


def _total(sizes: Sequence[int], counted: Sequence[bool]) -> int:
    return sum(size for size, one in zip(sizes, counted) if one)


class TrainingSession(TorchSession):
    """On a processor. Weights change from run to run, so that runs follow each other."""

    def run(self, values: Values) -> Values:
        return [self._forward(*values)]

    def get(self, values: Values) -> Arrays:
        return {name: array.reshape(1) for name, array in super().get(values).items()}

    def learned(self) -> Learned:
        learned: Learned = self._forward.learned()
        return learned

    def submit(self, values: Values, done: Any) -> None:
        raise NotImplementedError("steps of training follow each other")


class CudaTrainingSession(TrainingSession):
    """On one stream of a GPU, which each stage waits for."""

    def __init__(self, *arguments: Any, where: Any, pinned: bool) -> None:
        super().__init__(*arguments)
        cuda = self._torch.cuda
        self._where, self._pinned, self._stream = where, pinned, cuda.Stream(where)
        self._begin, self._end = (cuda.Event(enable_timing=True) for _ in range(2))
        self._enqueue_ns: int | None = None
        cuda.synchronize(where)  # the weights came on another stream, for which this one does not wait

    def compile_with(self, compiler: Callable[..., Any], arrays: Arrays) -> None:
        values = self.put(arrays)
        self._forward = self._waited(lambda: compiler(self._forward, values))

    def put(self, arrays: Arrays) -> Values:
        check_arrays(self._specs, arrays)
        return self._waited(lambda: [self._moved(arrays[spec.name]) for spec in self._specs])

    def run(self, values: Values) -> Values:
        return self._waited(lambda: [self._timed(values)])

    def get(self, values: Values) -> Arrays:
        return {"loss": values[0].float().cpu().numpy().reshape(1)}

    def device_ns(self) -> int | None:
        """Between the events around the last step: of the GPU's work, and of its waiting for the host in between."""
        return None if self._enqueue_ns is None else round(self._begin.elapsed_time(self._end) * 1e6)

    def enqueue_ns(self) -> int | None:
        return self._enqueue_ns

    def device_peak_bytes(self) -> int | None:
        """Of torch's tensors; what its allocator keeps in reserve and CUDA's own context are not in it."""
        return int(self._torch.cuda.max_memory_allocated(self._where))

    def _waited(self, work: Callable[[], Any]) -> Any:
        with self._torch.cuda.stream(self._stream):
            made = work()
        self._stream.synchronize()
        return made

    def _timed(self, values: Values) -> Any:
        began = time.monotonic_ns()
        self._begin.record(self._stream)
        loss = self._forward(*values)
        self._end.record(self._stream)
        self._enqueue_ns = time.monotonic_ns() - began
        return loss

    def _moved(self, array: Any) -> Any:
        tensor = on_host(self._torch, array)
        return self._cast((tensor.pin_memory() if self._pinned else tensor).to(self._where, non_blocking=True))
