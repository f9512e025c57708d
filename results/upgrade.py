"""What an earlier accelmark stored, as today's schema has it. A step is kept for ever and never guesses a number.

Steps work on parsed JSON that nothing has checked yet; the schema checks what they return.
"""

from __future__ import annotations

from typing import Any

from results.record import Conditions, Energy, Evidence, Machine, Phases, QualityResult, Stages, Summary
from results.strict import Explained

Raw = dict[str, Any]

BEFORE_2 = "recorded before schema 2"
BEFORE_3 = "recorded before schema 3"
BEFORE_4 = "recorded before schema 4"


def record_from_1(old: Raw) -> Raw:
    """Schema 2 (2026-11): server, multi_stream, cold_start, LoadGen, audits of the window, energy.

    What is new is None, for the reason that it was not recorded. `load_ns` held the import of the library too.
    """
    context = {**old["context"]}
    context["machine"] = explained(Machine, context["machine"], BEFORE_2)
    context["conditions"] = [explained(Conditions, one, BEFORE_2) for one in context.get("conditions", ())]
    new = {**old, "schema_version": 2, "context": context}
    if old.get("window"):
        window = {**old["window"]}
        new["window"] = {"query_samples": window.pop("batch"), **window}
    if old.get("phases"):
        phases = explained(Phases, old["phases"], BEFORE_2)
        phases["missing"]["import_ns"] = f"{BEFORE_2}: load_ns holds the import too"
        new["phases"] = phases
    for name, kind in (("evidence", Evidence), ("energy", Energy)):
        if old.get(name):
            new[name] = explained(kind, old[name], BEFORE_2)
    return new


def record_from_2(old: Raw) -> Raw:
    """Schema 3 (2026-11): estimates, which no earlier record has, and the time of handing a run to the device."""
    new = {**old, "schema_version": 3}
    if stages := (old.get("evidence") or {}).get("stages"):
        new["evidence"] = {**old["evidence"], "stages": explained(Stages, stages, BEFORE_3)}
    return new


def record_from_3(old: Raw) -> Raw:
    """Schema 4 (2026-11): the artefact and what was executed; grades were not kept by example before."""
    new = {**old, "schema_version": 4}
    if old.get("evidence"):
        evidence = explained(Evidence, old["evidence"], BEFORE_4)
        if evidence["quality"]:
            evidence["quality"] = explained(QualityResult, evidence["quality"], BEFORE_4)
        new["evidence"] = evidence
    return new


def summary(old: Raw) -> Raw:
    """Figures that were thought of since are None: samples give them, where there still are any."""
    return explained(Summary, old, f"not derived under the rules of version {old['rules_version']}")


def explained(kind: type[Explained], section: Raw, reason: str) -> Raw:
    """`section` with every field of `kind` that it lacks and that may be None, for this reason."""
    lacking = [name for name, field in kind.model_fields.items() if field.default is None and name not in section]
    return {
        **section,
        **dict.fromkeys(lacking),
        "missing": {**dict.fromkeys(lacking, reason), **section.get("missing", {})},
    }
