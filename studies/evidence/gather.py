"""Carry the evidence to a GPU machine without a network, in loads of less than 64 MiB.

    python studies/evidence/gather.py pack FOLDER --data cifar10.npz     # here: FOLDER/load-1, load-2, ...
    python studies/evidence/gather.py unpack FOLDER/load-1 --into HOME   # there, each load in turn

The last two loads hold CIFAR-10, half of it each, as lossless images. Those before hold wheels: the project's own, what
it needs but for torch, and pytest. They are for the machine's Python and processor (`--python`, `--platform`); torch
with CUDA has to be there, and what else is there can be left out (`--there numpy,scipy`). Unpacked,
HOME/venv/bin/python runs the project, and HOME/data is for NAS_BUDGET_DATA:

    NAS_BUDGET_DATA=HOME/data HOME/venv/bin/python studies/evidence/run.py --minutes 8 --state STATE

Here it needs pip and a network, there Python and torch alone. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LARGEST_MIB = 64
"""What a load must stay under."""
FULL_MIB = 60
"""Up to where one is filled."""
THERE = ("torch", "torchvision")
"""Not carried: the first is there, and the second only downloads data sets."""
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
"""What the tests marked gpu need beside the project."""
IMAGES, LABELS = "images", "labels"
SIDE = 64
"""Images of a mosaic, in a row and in a column."""
DATA_FILE = "cifar10.npz"


class CannotError(Exception):
    """What cannot be done, in words."""


def needed(python: str, left_out: list[str]) -> dict[str, str]:
    """The packages that the project and its tests need there, but for torch, by name, with the versions pinned here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    there = {
        "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
        "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "os_name": "posix", "extra": "",
    }  # fmt: skip
    found: dict[str, str] = {}
    to_do = ["nas-budget", *TOOLS]
    while to_do:
        name = canonicalize_name(to_do.pop())
        if name in found or name in left_out:
            continue
        found[name] = pinned.get(name, "")
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            raise CannotError(f"{name} is not installed here; set up with `make lint` first") from None
        asked = map(Requirement, lines)
        to_do += [one.name for one in asked if one.marker is None or one.marker.evaluate(there)]
    del found["nas-budget"]
    return found


def gather_wheels(folder: Path, python: str, platforms: list[str], left_out: list[str]) -> None:
    """Put all wheels into a folder."""
    found = needed(python, left_out)
    packages = [f"{name}=={version}" if version else name for name, version in sorted(found.items())]
    of = [word for platform in platforms for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for_there = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", *of]
    run([*pip, "download", "--no-deps", *for_there, "--dest", str(folder), *packages])
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])


def run(command: list[str]) -> None:
    """Run a command in the project's folder."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise CannotError(f"{' '.join(command[1:4])}: {last}")


def gather_images(data: Path, folders: list[Path]) -> None:
    """Put the images of a data set into the folders, as mosaics that lose nothing, and what they are beside them."""
    import numpy as np
    from PIL import Image

    with np.load(data) as file:
        arrays = {name: file[name] for name in file.files}
    whole = np.concatenate([arrays.pop(f"train_{IMAGES}"), arrays.pop(f"test_{IMAGES}")])
    n, height, width, channels = whole.shape
    step = SIDE * SIDE
    mosaics = range(0, n, step)
    about = {"images": n, "mosaics": len(mosaics), "shape": [height, width, channels], "sha256": digest(whole)}
    for number, start in enumerate(mosaics):
        part = np.zeros((step, height, width, channels), np.uint8)
        part[: len(whole) - start] = whole[start : start + step]
        grid = part.reshape(SIDE, SIDE, height, width, channels).transpose(0, 2, 1, 3, 4)
        folder = folders[number * len(folders) // len(mosaics)]
        file = folder / f"{IMAGES}-{number:03}.webp"
        Image.fromarray(grid.reshape(SIDE * height, SIDE * width, channels)).save(
            file, lossless=True, quality=0, method=0
        )
    for folder in folders:
        np.savez_compressed(folder / f"{LABELS}.npz", **arrays)
        (folder / "about.json").write_text(json.dumps(about))


def digest(images: Any) -> str:
    """SHA-256 of the pixels of images."""
    return hashlib.sha256(images.tobytes()).hexdigest()


def pack(given: argparse.Namespace) -> None:
    """Make the loads, and say how large each is."""
    if given.folder.exists() and any(given.folder.iterdir()):
        raise CannotError(f"{given.folder} is not empty; give another folder")
    loads: list[Path] = []

    def begin() -> Path:
        loads.append(given.folder / f"load-{len(loads) + 1}")
        loads[-1].mkdir(parents=True)
        return loads[-1]

    with tempfile.TemporaryDirectory() as place:
        gather_wheels(Path(place), given.python, given.platform, given.there)
        room = 0
        for wheel in sorted(Path(place).glob("*.whl"), key=lambda wheel: wheel.stat().st_size):
            room -= wheel.stat().st_size
            if room < 0:
                room = FULL_MIB * 2**20 - wheel.stat().st_size
                begin()
            shutil.move(wheel, loads[-1])
    gather_images(given.data, [begin(), begin()])
    for load in loads:
        mib = sum(path.stat().st_size for path in load.iterdir()) / 2**20
        print(f"{load}: {len([*load.iterdir()])} files, {mib:.1f} MiB")
        if mib >= LARGEST_MIB:
            raise CannotError(f"{load} has {mib:.1f} MiB, which is not less than {LARGEST_MIB}")


def unpack(given: argparse.Namespace) -> None:
    """Set up from a load: an environment from wheels, the data set once all of its parts are there."""
    home = given.into.resolve()
    home.mkdir(parents=True, exist_ok=True)
    if wheels := sorted(given.load.glob("*.whl")):
        venv.create(home / "venv", system_site_packages=True)
        python = home / "venv" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        # Without their dependencies, as torch's own are there.
        run(
            [
                *pip,
                "install",
                "--quiet",
                "--no-index",
                "--no-deps",
                "--ignore-installed",
                *map(str, map(Path.resolve, wheels)),
            ]
        )
        print(f"{python}: {len(wheels)} packages")
    else:
        parts = home / "parts"
        parts.mkdir(exist_ok=True)
        for path in given.load.iterdir():
            (parts / path.name).write_bytes(path.read_bytes())
        join_images(parts, home / "data" / DATA_FILE, home / "venv" / "bin" / "python")


def join_images(parts: Path, target: Path, python: Path) -> None:
    """Write the data set where all of its mosaics are there; by the environment's Python, which has Pillow."""
    about, there = json.loads((parts / "about.json").read_text()), len([*parts.glob("*.webp")])
    if there < about["mosaics"]:
        print(f"{parts}: {there} of {about['mosaics']} parts; unpack the next load")
        return
    run([str(python), str(Path(__file__).resolve()), "join", str(parts), str(target)])
    print(f"{target}: {about['images']:,} images")


def join(given: argparse.Namespace) -> None:
    """Write the data set from its mosaics."""
    import numpy as np
    from PIL import Image

    about = json.loads((given.parts / "about.json").read_text())
    height, width, channels = about["shape"]
    tiles = []
    for path in sorted(given.parts.glob("*.webp")):
        with Image.open(path) as image:
            grid = np.asarray(image).reshape(SIDE, height, SIDE, width, channels)
        tiles.append(grid.transpose(0, 2, 1, 3, 4).reshape(-1, height, width, channels))
    whole = np.concatenate(tiles)[: about["images"]]
    if digest(whole) != about["sha256"]:
        raise CannotError(f"{given.parts}: the images are not those that were packed; copy them again")
    with np.load(given.parts / f"{LABELS}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    n_train = len(arrays[f"train_{LABELS}"])
    given.target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.target.parent) as place:
        draft = Path(place) / given.target.name
        np.savez(draft, **arrays, train_images=whole[:n_train], test_images=whole[n_train:])
        draft.replace(given.target)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for; `do` does it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_subparsers(required=True, metavar="{pack,unpack}")
    packing = kinds.add_parser("pack", help="gather the loads, here")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default="3.12", help="Python of the GPU machine")
    platforms = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64"]
    packing.add_argument("--platform", action="append", help="of its wheels, such as manylinux_2_28_x86_64")
    packing.add_argument("--data", type=Path, required=True, help="cifar10.npz; nas-budget data says where it lies")
    packing.add_argument("--there", type=lambda text: [*THERE, *text.split(",")], default=[*THERE], metavar="NAMES",
                         help="packages that need not be carried, beside torch")  # fmt: skip
    packing.set_defaults(do=pack)
    unpacking = kinds.add_parser("unpack", help="set up from one load, there")
    unpacking.add_argument("load", type=Path)
    unpacking.add_argument("--into", type=Path, default=Path.home() / "evidence", help="folder to set up")
    unpacking.set_defaults(do=unpack)
    joining = kinds.add_parser("join")
    joining.add_argument("parts", type=Path)
    joining.add_argument("target", type=Path)
    joining.set_defaults(do=join)
    given = parser.parse_args(arguments)
    if given.do is pack:
        given.platform = given.platform or platforms
        if not re.fullmatch(r"3\.\d+", given.python):
            parser.error(f"--python {given.python}: give a version such as 3.12")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked for; the exit code."""
    given = parsed(arguments)
    try:
        given.do(given)
    except (CannotError, OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
