"""`accelmark export` and `accelmark verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from bench.bundle import trial
from bench.bundle.aim import aim
from bench.bundle.archive import unpack
from bench.bundle.export import export
from bench.bundle.manifest import DamagedError


def run_export(chosen: argparse.Namespace) -> int:
    """0 once the bundle is written, verified or with the reason why not; raises ValueError for what cannot be made."""
    extra = tuple(chosen.parts)
    path, told = export(chosen.workload, aim(chosen.target, chosen.precision, extra), chosen.out, extra)
    size = sum(one.bytes for one in told.files.values())
    print(f"{path}: {told.workload} in {told.precision} as {told.form}, {size:,} bytes in {len(told.files)} files")
    print(f"  verified: {told.verified}" if told.verified else f"  not verified here: {told.unverified}")
    print(f"  on the device: accelmark verify {path.name}, then pytest bench/ --artifact={path.name}")
    return 0


def run_verify(chosen: argparse.Namespace) -> int:
    """0 if every check passed, 1 if one did not; raises BundleError for what is no bundle."""
    failed = False
    for passed, text in _checks(chosen):
        print(f"{'ok    ' if passed else 'FAILED'}  {text}", flush=True)
        failed = failed or not passed
    if failed:
        print(f"accelmark: {chosen.bundle} is not verified here", file=sys.stderr)
    return 1 if failed else 0


def _checks(chosen: argparse.Namespace) -> Iterator[tuple[bool, str]]:
    try:
        folder, told = unpack(chosen.bundle)
    except DamagedError as error:
        yield False, f"content: {error}"
        return
    yield True, f"bundle: {told.workload} in {told.precision} as {told.form}, made of commit {told.commit}"
    yield True, f"content: {len(told.files)} files have the SHA-256 that the manifest names"
    extra, tried = tuple(chosen.parts), False
    for engine, device in trial.engines(told, extra, chosen.engine):
        verdict = trial.run(folder, told, engine, device, extra)
        if verdict.ok is None:
            print(f"        not tried: {verdict.text}", flush=True)
        else:
            tried = True
            yield verdict.ok, f"golden: {verdict.text}"
    if not tried:
        named = f" of {', '.join(chosen.engine)}" if chosen.engine else ""
        yield False, f"golden: no engine{named} here runs {told.form} in {told.precision}: see accelmark list engines"
