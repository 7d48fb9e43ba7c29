"""Write reference/outputs/*.txt, what each command prints, by running the commands in an empty folder.

    python docs/examples.py

It trains a few small networks on the built-in images, in about three minutes. `docs/generate.py` shows the files in
the reference. A test runs the commands of `SAME_EVERYWHERE` again and compares.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from nas_budget.train.data.synthetic import draw

OUTPUTS = Path(__file__).parent / "reference" / "outputs"
IMAGE = "drawn.png"
EXAMPLES = {
    "count": [
        "nas-budget count --channels 32,64,96,128,185",
        "nas-budget count --channels 32,64,96 --channels 64,128 --budget 1M",
        "nas-budget count --module torchvision.models:resnet18 --input 3,224,224 --budget 12M",
    ],
    "fit": ["nas-budget fit --channels 32,64,128 --budget 250k --max-macs 30M"],
    "explore": ["nas-budget explore --budget 250k --set space.width_step=8 --set space.stages=3 --sample 3 --seed 0"],
    "init": ["nas-budget init quickstart --output mine.toml"],
    "data": ["nas-budget data", "nas-budget data shapes"],
    "search": [
        "nas-budget search --name demo --data shapes --images 1000 --budget 30k --trials 6 --epochs 6 --proxy none -q"
    ],
    "worker": [
        "nas-budget search --name ours --storage sqlite:///ours.db --data shapes --images 500 --budget 30k "
        "--trials 1 --epochs 1 --proxy none -q",
        "nas-budget worker ours --storage sqlite:///ours.db --quiet",
    ],
    "show": ["nas-budget show demo", "nas-budget show demo 2"],
    "train": ["nas-budget train --study runs/demo --recipe brief --epochs 3 --images 2000 --seeds 3 --quiet"],
    "ls": ["nas-budget ls"],
    "report": ["nas-budget report demo"],
    "dashboard": ["nas-budget dashboard demo --no-open"],
    "doctor": ["nas-budget doctor demo"],
    "evaluate": ["nas-budget evaluate demo-best-brief"],
    "predict": [f"nas-budget predict demo-best-brief {IMAGE} --top 3"],
    "export": ["nas-budget export demo-best-brief --format python"],
}
"""By command, in an order in which each finds what it needs."""
SAME_EVERYWHERE = ("count", "fit", "explore", "init", "data")
"""Commands whose figures are exact or fixed by a seed."""


SERVER = "dashboard"
"""A command that says where it listens, in a message, and runs until Ctrl-C."""


def outputs(commands: Iterable[str], folder: Path) -> Iterator[tuple[str, str]]:
    """Names of commands, and the commands with what they print on stdout, run in a folder."""
    images, _ = draw(1, 0)
    Image.fromarray(images[0]).save(folder / IMAGE)
    for name in commands:
        yield name, "\n".join(f"$ {line}\n{_run(line, folder)}\n" for line in EXAMPLES[name])


def _run(line: str, folder: Path) -> str:
    command = [sys.executable, "-m", "nas_budget", *shlex.split(line)[1:]]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "NAS_BUDGET_DATA": "data"}
    messages = subprocess.STDOUT if SERVER in command else None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=messages, text=True, encoding="utf-8", cwd=folder, env=environment
    ) as process:
        stdout: Any = process.stdout
        printed = stdout.readline()
        if SERVER in command:
            process.send_signal(signal.SIGINT)
        rest = stdout.read()
    if process.returncode not in (0, 3, 130):
        raise RuntimeError(f"{line} ended with {process.returncode}")
    return (printed if SERVER in command else printed + rest).strip("\n")


if __name__ == "__main__":
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in outputs(EXAMPLES, Path(folder)):
            (OUTPUTS / f"{name}.txt").write_text(text, encoding="utf-8")
