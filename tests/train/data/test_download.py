"""Downloads through torchvision's own code, from a server on this machine."""

from __future__ import annotations

import gc
import gzip
import hashlib
import importlib.abc
import pickle
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DownloadError
from nas_budget.train.data import download as module
from nas_budget.train.data.dataset import open_npz
from nas_budget.train.data.download import CLASS_NAMES, download

pytestmark = pytest.mark.timeout(120)
urllib_leaves_sockets_open = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
CLASSES = ["cat", "dog", "frog"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class NoWebServer(Quiet):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-something else\r\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the server on this machine serves."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def server(here: Path) -> Iterator[str]:
    """The server's address."""
    with serve(partial(Quiet, directory=str(here))) as url:
        yield url


@contextmanager
def serve(handler: Any) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}/"
        finally:
            serving.shutdown()
            thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()  # noqa: S324


def old_pickle(value: Any) -> bytes:
    """A pickle as Python 2 wrote them: numpy's flags are numbers there, and its module has its old name."""
    written = pickle.dumps(value, protocol=2)
    return written.replace(b"\x89\x88\x87", b"K\x00K\x01\x87").replace(b"numpy._core", b"numpy.core")


@pytest.fixture
def cifar10(here: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a tiny archive in CIFAR-10's form holds; torchvision is pointed at it."""
    rng, files, content = np.random.default_rng(0), {}, {}
    for name, n in ("data_batch_1", 6), ("data_batch_2", 6), ("test_batch", 3):
        images, labels = rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8), rng.integers(0, 3, n).tolist()
        files[name] = old_pickle({"data": images.reshape(n, -1), "labels": labels})
        content[name] = (images.transpose(0, 2, 3, 1), labels)
    files["batches.meta"] = old_pickle({"label_names": CLASSES})
    folder = here / "cifar-10-batches-py"
    folder.mkdir()
    for name, file in files.items():
        (folder / name).write_bytes(file)
    archive = Path(shutil.make_archive(str(here / "cifar"), "gztar", here, folder.name))
    sums = {name: md5(file) for name, file in files.items()}
    known = {
        "url": f"{server}{archive.name}",
        "tgz_md5": md5(archive.read_bytes()),
        "train_list": [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
    }
    for name, value in known.items():
        monkeypatch.setattr(f"torchvision.datasets.CIFAR10.{name}", value)
    return content


def failure(folder: Path, name: str = "cifar10") -> str:
    """What is said about a download that fails; one line, and nothing is left behind."""
    before = {*folder.rglob("*")}
    with pytest.raises(DownloadError) as caught:
        download(name, folder / f"{name}.npz")
    said = str(caught.value)
    del caught
    gc.collect()  # sockets that urllib left open are closed here, not in a later test
    assert "\n" not in said
    assert {*folder.rglob("*")} == before
    return said


def test_cifar10_becomes_a_file_of_the_same_pixels(
    cifar10: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "folder" / "cifar10.npz"
    download("cifar10", path)
    dataset = open_npz(path, "cifar10")
    assert (dataset.classes, dataset.n_train, dataset.n_test, dataset.image_size) == (tuple(CLASSES), 12, 3, 32)
    for part, names in ("train", ("data_batch_1", "data_batch_2")), ("test", ("test_batch",)):
        images, labels = dataset.read(part)
        assert np.array_equal(images, np.concatenate([cifar10[name][0] for name in names]))
        assert labels.tolist() == [label for name in names for label in cifar10[name][1]]
    assert list(path.parent.iterdir()) == [path]
    assert capsys.readouterr().out == ""  # stdout is for data


@urllib_leaves_sockets_open
def test_fashion_mnist_becomes_a_file_of_one_channel_and_mirrors_that_are_down_are_said(
    here: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [server])
    assert "404" in failure(tmp_path, "fashion-mnist")
    rng, resources, content = np.random.default_rng(0), [], {}
    for part, n in ("train", 5), ("t10k", 4):
        images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        content[part] = (images, labels)
        for kind, array in ("images-idx3", images), ("labels-idx1", labels):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            packed = gzip.compress(head + array.tobytes())
            name = f"{part}-{kind}-ubyte.gz"
            (here / name).write_bytes(packed)
            resources.append((name, md5(packed)))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.resources", resources)
    download("fashion-mnist", tmp_path / "a.npz")
    dataset = open_npz(tmp_path / "a.npz", "fashion-mnist")
    assert (dataset.in_channels, dataset.image_size) == (1, 28)
    assert dataset.classes == tuple(CLASS_NAMES["fashion-mnist"])
    for part, name in ("train", "train"), ("test", "t10k"):
        images, labels = dataset.read(part)
        assert np.array_equal(images[..., 0], content[name][0])
        assert np.array_equal(labels, content[name][1])


@urllib_leaves_sockets_open
def test_an_archive_that_is_not_the_published_one_or_not_there_is_refused(
    cifar10: dict[str, Any], here: Path, tmp_path: Path
) -> None:
    archive = here / "cifar.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    said = failure(tmp_path)
    assert said.startswith("cifar10 cannot be downloaded: ")
    assert f"put {tmp_path / 'cifar10.npz'} there yourself" in said
    archive.unlink()
    assert "404" in failure(tmp_path)


@pytest.mark.parametrize(("listens", "words"), [(False, "refused"), (True, "timed out")])
def test_a_server_that_is_gone_or_silent_is_given_up_on(
    cifar10: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool, words: str
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # connections to an address that is only bound are refused
        if listens:
            taken.listen()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar.gz"
        monkeypatch.setattr("torchvision.datasets.CIFAR10.url", url)
        assert words in failure(tmp_path)
    assert socket.getdefaulttimeout() is None


def test_a_server_that_speaks_something_else_is_said(
    cifar10: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(NoWebServer) as url:
        monkeypatch.setattr("torchvision.datasets.CIFAR10.url", f"{url}a.tar.gz")
        failure(tmp_path)


def test_a_folder_that_cannot_be_made_or_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    said = failure(tmp_path / "file" / "folder")
    assert "cannot be written" in said
    assert "choose another with --data-dir" in said
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert failure(tmp_path) == f"{tmp_path}: cannot be written (permission denied); choose another with --data-dir"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_fetch", lambda name, folder: {})
    monkeypatch.setattr(np, "savez", full)
    assert "No space left" in failure(tmp_path)


def test_a_torchvision_that_is_not_installed_or_of_another_build_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torchvision", None)
        assert "torchvision" in failure(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert "torchvision does not load beside this torch" in failure(tmp_path)
