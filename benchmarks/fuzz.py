"""Run every reading function on 10,000 damaged files, in a process that may crash.

python benchmarks/fuzz.py --count 10000 --seed 0

Each file must be read, or raise one DataError with one line that names it. There must be no other error, warning,
output, crash or hang, no file outside the folder, and no growth of memory. The mutator is tests/support/corrupt.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

#: A process that is silent for longer hangs.
HANG_SECONDS = 30

RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"


def memory(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3


# --- in the process that may crash --------------------------------------------------------------------------


def read_all(folder: Path, count: int, seed: int, first: int) -> None:
    """Read the files one after another; a line of JSON for each."""
    from support.corrupt import corrupted  # pyright: ignore[reportMissingImports]
    from support.reading import judge  # pyright: ignore[reportMissingImports]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, name, data in corrupted(count, seed, first):
            print(json.dumps({"begin": number}), flush=True)
            place = folder / f"{number % 7}-{name}"
            place.write_bytes(data)
            begin = time.perf_counter()
            outcomes, faults = judge(place)
            seconds = time.perf_counter() - begin
            faults += [f"warning leaked: {w.message}" for w in caught if "PIL" in w.filename]
            caught.clear()
            place.unlink()
            line: dict[str, Any] = {"number": number, "name": name, "seconds": seconds, "outcomes": outcomes}
            line |= {"faults": faults} if faults else {}
            if number % 100 == 0:
                line |= {"rss": memory("VmRSS"), "peak": memory("VmHWM")}
            print(json.dumps(line), flush=True)


# --- in the process that looks on ---------------------------------------------------------------------------


def watch(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Run the reader, again after each crash or hang, and count."""
    outcomes, slow, faults, rss = Counter(), [], [], []
    first, peak, done, errors = 0, 0.0, 0, ""
    command = [sys.executable, __file__, "--child", str(folder), "--count", str(count), "--seed", str(seed)]
    while first < count:
        with tempfile.TemporaryFile("w+") as stderr:
            reader = subprocess.Popen(
                [*command, "--first", str(first)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
            hung = False
            for line in _lines(reader):
                if line is None:
                    hung = True
                    reader.kill()
                    break
                if "begin" in line:
                    first = line["begin"]
                    continue
                done, first = done + 1, line["number"] + 1
                outcomes.update(line["outcomes"])
                faults += [f"{line['number']} {line['name']}: {fault}" for fault in line.get("faults", [])]
                slow.append((line["seconds"], line["number"], line["name"]))
                if "rss" in line:
                    rss.append(line["rss"])
                    peak = max(peak, line["peak"])
            code = reader.wait()
            stderr.seek(0)
            errors += stderr.read()
        if hung or code != 0:
            faults.append(f"{first}: {'hang' if hung else f'crash, exit code {code}'}")
            first += 1
    return _summary(done, outcomes, slow, faults, rss, peak, errors)


def _lines(reader: subprocess.Popen[str]) -> Any:
    """What the reader says, as JSON; None once it is silent for too long."""
    import selectors

    assert reader.stdout is not None
    with selectors.DefaultSelector() as selector:
        os.set_blocking(reader.stdout.fileno(), False)
        selector.register(reader.stdout, selectors.EVENT_READ)
        buffer = b""
        while selector.select(HANG_SECONDS):
            piece = os.read(reader.stdout.fileno(), 1 << 16)
            if not piece:
                return
            *whole, buffer = (buffer + piece).split(b"\n")
            yield from map(json.loads, whole)
    yield None


def _summary(
    done: int, outcomes: Counter, slow: list, faults: list[str], rss: list[float], peak: float, errors: str
) -> dict[str, Any]:
    slow.sort(reverse=True)
    warm = rss[len(rss) // 10 :] or [0.0]
    return {
        "files": done,
        "outcomes": dict(outcomes.most_common()),
        "faults": faults[:50],
        "fault_count": len(faults),
        "stderr": errors[:1000],
        "seconds_total": round(sum(s for s, _, _ in slow), 1),
        "seconds_slowest": [[round(s, 3), number, name] for s, number, name in slow[:5]],
        "rss_mb_after_warm_up": round(warm[0], 1),
        "rss_mb_end": round(warm[-1], 1),
        "rss_mb_most": round(max(warm), 1),
        "peak_mb_of_a_single_moment": round(peak, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.child is not None:
        read_all(given.child, given.count, given.seed, given.first)
        return
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "inner"
        folder.mkdir()
        found = watch(folder, given.count, given.seed)
        if [p.name for p in Path(outer).iterdir()] != ["inner"] or list(folder.iterdir()):
            found["faults"].append("files were left behind")
            found["fault_count"] += 1
    import PIL

    found = {
        "command": f"python benchmarks/fuzz.py --count {given.count} --seed {given.seed}",
        "device": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, shared with other work",
        "pillow": PIL.__version__,
        **found,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["fault_count"] or found["stderr"] else 0)


if __name__ == "__main__":
    main()
