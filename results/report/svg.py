"""A matplotlib figure as a small inline SVG that takes its colours and its font from the page around it.

No pyplot: a bare Figure starts in half the time and keeps no state. One figure unit is one CSS pixel.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
RC: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "accelmark", "text.parse_math": False, "font.size": 11}

INK, MUTED, GRID, FRONT, PAPER = "#000000", "#000001", "#000002", "#000003", "#000004"
_NAMED = {INK: "currentColor", MUTED: "var(--mut)", GRID: "var(--line)", FRONT: "var(--rule)", PAPER: "var(--bg)"}
_FAMILIES = {0x10: "s", 0x30: "h", 0x50: "t"}


@dataclass(frozen=True)
class Mark:
    """What a drawn thing stands for: `keys` are ids of table rows, `title` its tooltip."""

    title: str
    keys: Sequence[str] = ()


def series(index: int) -> str:
    """Placeholder of the page's series colour `index`."""
    return f"#0000{0x10 + index:02x}"


def heat(index: int) -> str:
    """Placeholder of heat-map fill `index`."""
    return f"#0000{0x30 + index:02x}"


def heat_text(index: int) -> str:
    """Placeholder of the text colour that is legible on heat-map fill `index`."""
    return f"#0000{0x50 + index:02x}"


def inline(figure: Figure, label: str, prefix: str, marks: Mapping[str, Mark]) -> Markup:
    """`figure` as an <svg> element: its ids begin with `prefix`, artists whose gid is in `marks` get a tooltip."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with rc_context(RC):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output, made three lines above
    _clean(root, marks)
    _share_shapes(root, prefix)
    _frame(root, label)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - serialised by an XML writer, which escapes


def _frame(root: ET.Element, label: str) -> None:
    width = root.get("viewBox", "0 0 0 0").split()[2]
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label, "style": f"--w:{float(width):g}px"}


def _share_shapes(root: ET.Element, prefix: str) -> None:
    """One definition per outline, where matplotlib makes one per outline and colour; short ids."""
    parents = {child: parent for parent in root.iter() for child in parent}
    ids: dict[str, str] = {}
    renamed = {}
    for path in [element for element in root.iter(f"{{{SVG}}}path") if element.get("id")]:
        outline = path.get("d", "") + path.get("style", "")
        renamed[path.attrib["id"]] = shared = ids.get(outline, f"{prefix}-{len(ids)}")
        if outline in ids:
            defs = parents[path]
            parents[defs].remove(defs)
        ids[outline] = shared
        path.set("id", shared)
    for element in root.iter(f"{{{SVG}}}use"):
        element.set(HREF, f"#{renamed[element.attrib[HREF][1:]]}")


def _clean(element: ET.Element, marks: Mapping[str, Mark]) -> None:
    for child in list(element):
        name = child.tag.removeprefix(f"{{{SVG}}}")
        if name in ("metadata", "style") or (name == "defs" and not _has_shapes(child)):
            element.remove(child)
            continue
        _clean(child, marks)
        _attributes(child, marks)
        _whitespace(child)
    _unwrap(element)
    _whitespace(element)


def _has_shapes(defs: ET.Element) -> bool:
    """Style sheets would leak into the page, and nothing is drawn outside its axes, so clips go too."""
    return any(not child.tag.endswith(("}style", "}clipPath")) for child in defs)


def _attributes(element: ET.Element, marks: Mapping[str, Mark]) -> None:
    identity = element.attrib.pop("id", "")
    if identity in marks:
        _mark(element, marks[identity])
    elif element.tag.endswith("}path") and identity:
        element.set("id", identity)
    element.attrib.pop("clip-path", None)
    for name, value in list(element.attrib.items()):
        if name == "style":
            _restyle(element, value)
        elif name in ("d", "x", "y", "transform"):
            element.set(name, _short(name, value))
    if element.get("transform") == "":
        del element.attrib["transform"]


def _mark(element: ET.Element, mark: Mark) -> None:
    element.set("class", "pt")
    if mark.keys:
        element.set("data-k", " ".join(mark.keys))
    title = ET.Element(f"{{{SVG}}}title")
    title.text = mark.title
    element.insert(0, title)


def _short(name: str, value: str) -> str:
    value = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), value)
    value = re.sub(r"\s+", " ", value).strip()
    if name == "d":
        return re.sub(r" ?([A-Za-z]) ?", r"\1", value)
    return re.sub(r" ?rotate\(-?0 [^)]*\)", "", value) if name == "transform" else value


def _restyle(element: ET.Element, style: str) -> None:
    """Placeholders become CSS variables; the font is the page's."""
    kept = []
    for rule in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = rule.partition(": ")
        if name == "font":
            name, value = "font-size", re.sub(r"^.*?([\d.]+px).*$", r"\1", value)
        if name not in ("font-family", "stroke-linejoin", "stroke-linecap", "font-weight"):
            kept.append(f"{name}:{_colour(value)}")
    bold = "font: 700" in style or "font: bold" in style or "font-weight: bold" in style
    if bold:
        kept.append("font-weight:600")
    element.set("style", ";".join(kept))


def _colour(value: str) -> str:
    if value in _NAMED:
        return _NAMED[value]
    if re.fullmatch(r"#0000[0-9a-f]{2}", value):
        number = int(value[5:], 16)
        base = max(start for start in _FAMILIES if start <= number)
        return f"var(--{_FAMILIES[base]}{number - base})"
    return value


def _unwrap(element: ET.Element) -> None:
    """Groups that carry nothing cost a third of the bytes."""
    for child in list(element):
        if child.tag == f"{{{SVG}}}g" and not any(child.attrib.values()):
            index = list(element).index(child)
            element.remove(child)
            for offset, grandchild in enumerate(list(child)):
                element.insert(index + offset, grandchild)


def _whitespace(element: ET.Element) -> None:
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None
