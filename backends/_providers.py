"""An ONNX Runtime execution provider with its options, as text and back: `NAME?key=value&key=value`. Holds no part."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

SCHEME = "ep"
SUFFIX = "ExecutionProvider"
SYNTAX = "ep:NAME?key=value&key=value"
KNOWN = (
    "ACL", "Azure", "CANN", "CPU", "CUDA", "CoreML", "Dml", "Dnnl", "MIGraphX", "NvTensorRTRTX", "OpenVINO", "QNN",
    "Rknpu", "Tensorrt", "VSINPU", "VitisAI", "WebGpu", "Xnnpack",
)  # fmt: skip
"""Names without their suffix, as onnxruntime.get_all_providers() of 1.31 has them; others are taken as they are."""
RESERVED = ("device", "library", "vendor")
TITLE_MAX = 80
PLAIN = r"A-Za-z0-9 ._:+@-"
"""Of what a name in a record may hold (results.names.PATTERN), all that means nothing in a title or a path."""


@dataclass(frozen=True)
class Provider:
    """Which provider, and what it is told. `device` counts among those that get_ep_devices() lists of it.

    `library` is the path of a plug-in that brings the provider, `vendor` picks among devices by their vendor's name.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    library: str = ""
    vendor: str = ""
    device: int | None = None

    @property
    def text(self) -> str:
        """The canonical specification, which `parse` reads back."""
        pairs = "&".join(f"{quote(key)}={quote(value, safe='/:,=')}" for key, value in self._pairs())
        return f"{SCHEME}:{quote(self.name, safe='')}{'?' if pairs else ''}{pairs}"

    @property
    def title(self) -> str:
        """A device's name: the options in brackets, shortened by a hash of them all where they do not fit into one.

        The folder of a file is not shown; what a comma or an equals sign would make ambiguous is hashed as well.
        """
        name = re.sub(f"[^{PLAIN}]", "_", self.name)
        shown = ",".join(f"{key}={value.rpartition('/')[2]}" for key, value in self._pairs())
        words = [self.name, *(word for pair in self._pairs() for word in pair)]
        if all(re.fullmatch(f"[{PLAIN}]*", word) for word in words) and len(name) + len(shown) <= TITLE_MAX:
            return f"{name}({shown})" if shown else name
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        return f"{name[:60]}({re.sub(f'[^,={PLAIN}]', '_', shown)[:40]}~{digest})"

    def _pairs(self) -> list[tuple[str, str]]:
        device = "" if self.device is None else str(self.device)
        chosen = {"device": device, "library": self.library, "vendor": self.vendor}
        return sorted({**self.options, **{key: value for key, value in chosen.items() if value}}.items())


def parse(text: str) -> Provider:
    """A provider from `ep:NAME?key=value&key=value`, percent-encoded where a value holds & or %; raises ValueError."""
    scheme, _, rest = text.partition(":")
    name, asked, query = rest.partition("?")
    name = unquote(name)
    if scheme != SCHEME or not re.match(r"[A-Za-z0-9]", name):
        raise ValueError(f"{text} names no execution provider")
    options: dict[str, str] = {}
    for pair in query.split("&") if asked else ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"in {text}, {pair or 'nothing'} is no key=value")
        if (key := unquote(key)) in options:
            raise ValueError(f"{text} gives {key} twice")
        options[key] = unquote(value)
    if empty := [key for key in RESERVED if options.get(key) == ""]:
        raise ValueError(f"{text} gives {empty[0]} no value")
    device = options.pop("device", None)
    if device is not None and not re.fullmatch("[0-9]{1,3}", device):
        raise ValueError(f"in {text}, device={device} is no whole number")
    chosen = options.pop("library", ""), options.pop("vendor", "")
    return Provider(full_name(name), options, *chosen, None if device is None else int(device))


def full_name(name: str) -> str:
    """ "openvino" and "OpenVINO" are OpenVINOExecutionProvider; a name that nobody knows stays as it is."""
    names = {known.casefold(): known + SUFFIX for known in KNOWN}
    return names.get(name.casefold().removesuffix(SUFFIX.casefold()), name)


def addressed(address: str) -> Provider:
    """What a device's address for onnxruntime means: `ep:...` as above, or a name with the index of a device."""
    if address.startswith(f"{SCHEME}:"):
        return parse(address)
    name, _, index = address.partition(":")
    return Provider(name, {"device_id": index} if index else {})
