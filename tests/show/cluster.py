"""What the measuring scripts about clusters share: a release build, a run of `ultrakv-chaos`, its figures.

`ultrakv-chaos` starts the nodes, breaks them and judges every answer; a script adds the rounds up and prints the last line.
"""

import json
import os
import pathlib
import subprocess
import tempfile

import lib

_built = None


def build():
    """Builds node and chaos once, and answers the chaos binary."""
    global _built
    if _built is None:
        folder = lib.build()
        os.environ["ULTRAKV_BIN"] = str(folder / "ultrakv")
        _built = folder / "ultrakv-chaos"
    return _built


def chaos(*arguments):
    """Runs it and answers (exit code, figures or None); what it prints goes to our output as it comes."""
    with tempfile.TemporaryDirectory(prefix="ultrakv-show-") as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [build(), *map(str, arguments), "--report", report]
        print("$", "ultrakv-chaos", *arguments, flush=True)
        ended = subprocess.run(command, stdin=subprocess.DEVNULL)
        figures = json.loads(report.read_text()) if report.exists() else None
    return ended.returncode, figures


def play(plan, seed):
    """Plays (scenario, nodes, rounds) one after the other; answers (all rounds, all failures)."""
    rounds, failures = [], []
    for scenario, nodes, count in plan:
        code, figures = chaos("run", scenario, "--nodes", nodes, "--rounds", count, "--seed", seed)
        if figures is None:
            failures.append(f"{scenario} on {nodes} nodes told no figures (exit {code})")
            continue
        if len(figures["rounds"]) < count:
            failures.append(f"{scenario} on {nodes} nodes ended after {len(figures['rounds'])} of {count} rounds")
        failures += [f"{scenario} on {nodes} nodes: {failure}" for failure in figures["failures"]]
        rounds += [{**one, "scenario": scenario, "nodes": nodes} for one in figures["rounds"]]
    return rounds, failures


def tell(failures):
    """Prints every failure."""
    for failure in failures:
        print("FAILED:", failure, flush=True)
