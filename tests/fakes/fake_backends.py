"""A device that is always there, and one backend for each way of not being there."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Backend, Device, Presence


class FakeBackend(Backend):
    """One device, "Fake 1", for every engine of `fake_engines`."""

    name = "fake"
    family = "fakes"

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        return Presence("present", devices=(Device(self.name, "Fake 1", {"fake": "fake:0"}),))


class FakeElsewhere(Backend):
    """A device that is not here and can be compiled for: `--target else:Fake-9`, or any other name."""

    name = "fake-elsewhere"
    family = "fakes-away"
    scheme = "else"

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        devices = tuple(self._device(target.partition(":")[2]) for target in targets or ("else:Fake 2",))
        state = "present" if targets else "absent"
        return Presence(state, "no fake 2 is here", "fetch one", devices)

    def _device(self, name: str) -> Device:
        return Device(self.name, name, {"fake-compiler": name}, runs=False)


class _Away(Backend):
    family = "fakes-away"
    state_: str
    reason: str
    remedy: str

    def probe(self, targets: Sequence[str] = ()) -> Presence:
        return Presence(self.state_, self.reason, self.remedy)  # type: ignore[arg-type]


class FakeAbsent(_Away):
    name, state_ = "fake-absent", "absent"
    reason, remedy = "no /dev/fake0", "plug one in"


class FakeForbidden(_Away):
    name, state_ = "fake-forbidden", "no_permission"
    reason, remedy = "/dev/fake0 cannot be opened", "join the group fake"


class FakeBroken(_Away):
    name, state_ = "fake-broken", "broken"
    reason, remedy = "the driver does not answer", "reload the module fake"
