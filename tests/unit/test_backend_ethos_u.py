"""Targets of Ethos-U: what can be named, and that a name holds all that an estimate depends on."""

from __future__ import annotations

import configparser
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._ethos_u import CLOCKS_MHZ, MEMORY_MODES, STANDARD, Configuration, parsed
from backends._host import Host
from backends.contract import Unsupported
from backends.ethos_u import EthosUBackend
from results.names import is_name

NOWHERE = Host(Path("/nowhere"))


def systems(accelerator: str) -> list[str]:
    return [system for system in CLOCKS_MHZ if accelerator[:3].upper() in system]


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    accelerator = draw(st.sampled_from(sorted(STANDARD)))
    system, memory = draw(st.sampled_from(systems(accelerator))), draw(st.sampled_from(MEMORY_MODES))
    return Configuration(accelerator, system, memory, draw(st.none() | st.integers(1, 4096)))


@given(configurations())
def test_a_configuration_survives_its_text(chosen: Configuration) -> None:
    assert parsed(str(chosen)) == chosen
    assert is_name(chosen.name)


@given(configurations(), configurations())
def test_two_configurations_are_two_devices(one: Configuration, other: Configuration) -> None:
    devices = EthosUBackend(NOWHERE).probe([f"ethos_u:{one}", f"ethos_u:{other}"]).devices
    assert len(devices) == (1 if one == other else 2)


@given(st.text(alphabet="u58-126?=&systemary_KB", max_size=30))
def test_no_text_raises_anything_but_unsupported(text: str) -> None:
    presence = EthosUBackend(NOWHERE).probe([f"ethos_u:{text}"])
    assert presence.state == "present" or (presence.reason and presence.remedy)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no Ethos-U is called"),
        ("u95-128", "no Ethos-U is called u95-128; there are u55-32"),
        ("U55-128", "no Ethos-U is called U55-128"),
        ("u55-128?system=Ethos_U85_SYS_DRAM_Mid", "u55-128 has no system Ethos_U85_SYS_DRAM_Mid"),
        ("u55-128?memory=Fast", "there is no memory mode Fast"),
        ("u55-128?clock=1", "clock=1 is not one each of"),
        ("u55-128?memory=Sram_Only&memory=Shared_Sram", "memory=Shared_Sram is not one each of"),
        ("u55-128?sram_kib=0", "sram_kib=0 is no whole number"),
        ("u55-128?sram_kib=half", "sram_kib=half is no whole number"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(Unsupported, match=says.replace("(", r"\(").replace("?", r"\?")):
        parsed(text)
    presence = EthosUBackend(NOWHERE).probe([f"ethos_u:{text}"])
    assert presence.state == "no_such_target"
    assert says in presence.reason


def test_all_are_a_small_and_a_large_one_of_each_generation() -> None:
    devices = EthosUBackend(NOWHERE).probe(["ethos_u:all"]).devices
    kinds = [device.name.split()[1] for device in devices]
    assert kinds == [f"Ethos-U{kind}" for kind in ("55-128", "55-256", "65-256", "65-512", "85-256", "85-1024")]
    assert not any(device.runs for device in devices)


def test_without_hardware_one_of_each_generation_can_be_compiled_for() -> None:
    presence = EthosUBackend(NOWHERE).probe()
    assert presence.state == "absent"
    assert [device.runs for device in presence.devices] == [False, False, False]


def test_hardware_comes_before_what_can_be_compiled_for(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ethosu0").touch()
    (device,) = EthosUBackend(Host(tmp_path)).probe().devices
    assert (device.name, device.runs) == ("Arm Ethos-U", True)


@pytest.mark.asic
def test_systems_and_modes_are_those_of_the_installed_vela() -> None:
    files = metadata.files("ethos-u-vela") or []
    (path,) = (file.locate() for file in files if file.match("config_files/Arm/vela.ini"))
    config = configparser.ConfigParser()
    config.read(path)
    found = {name.partition(".")[2]: section for name, section in config.items() if name.startswith("System_Config.")}
    assert {name: float(section["core_clock"]) / 1e6 for name, section in found.items()} == CLOCKS_MHZ
    modes = [name.partition(".")[2] for name in config.sections() if name.startswith("Memory_Mode.")]
    assert tuple(modes) == MEMORY_MODES


@pytest.mark.asic
def test_accelerators_are_those_of_the_installed_vela() -> None:
    from ethosu.vela.architecture_features import Accelerator

    assert [f"ethos-{name}" for name in STANDARD] == Accelerator.member_list()
