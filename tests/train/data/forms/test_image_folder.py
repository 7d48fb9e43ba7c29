"""Folders of images by class, of every usual layout and kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_budget.errors import DataError
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from tests.train.data.making import image_folder, pictures


def opened(path: Path, store: Path, options: str = "") -> tuple[Dataset, list[str]]:
    said: list[str] = []
    return open_dataset(f"{path}{options}", store, said.append), said


def test_one_level_is_split_by_class_and_always_alike(tmp_path: Path) -> None:
    path = image_folder(tmp_path / "pets", each=10)
    dataset, said = opened(path, tmp_path / "store")
    assert (dataset.name, dataset.classes, dataset.image_size, dataset.in_channels) == (str(path), ("cat", "dog"), 8, 3)
    assert (dataset.n_train, dataset.n_test) == (16, 4)
    assert np.bincount(dataset.read("test")[1]).tolist() == [2, 2]
    assert len(said) == 1
    assert said[0].startswith("NOTE: there are no test images; 4 of the 20 images, a fifth of each class and at least")
    again = opened(path, tmp_path / "another store")[0]
    assert again.digest == dataset.digest
    shown = {image.tobytes() for part in ("train", "test") for image in dataset.read(part)[0]}
    assert shown == {image.tobytes() for place in (0, 1) for image in pictures(10, seed=place)}


@pytest.mark.parametrize("test", ["test", "Testing", "val", "validation"])
def test_folders_of_parts_are_kept_apart(tmp_path: Path, test: str) -> None:
    image_folder(tmp_path / "a/train", each=6)
    image_folder(tmp_path / f"a/{test}", ("dog", "emu"), each=3, seed=7)
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert (dataset.classes, dataset.n_train, dataset.n_test) == (("cat", "dog", "emu"), 12, 6)
    assert dataset.read("test")[1].tolist() == [1] * 3 + [2] * 3
    assert "WARNING: no training images for the class emu; no network can learn them" in said


def test_images_for_validation_join_those_for_training_where_there_are_test_images(tmp_path: Path) -> None:
    for place, part in enumerate(("train", "val", "test")):
        image_folder(tmp_path / f"a/{part}", each=4, seed=place)
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert (dataset.n_train, dataset.n_test) == (16, 8)
    assert said == ["NOTE: the images in val join the training images; some of all are for validation"]


def test_names_of_other_alphabets_and_files_deeper_down_are_read(tmp_path: Path) -> None:
    names = ("Жираф", "äpfel", "キリン", "a/b")
    image_folder(tmp_path / "a", names)
    (tmp_path / "a/.hidden").mkdir()
    (tmp_path / "a/a/notes.txt").touch()
    (tmp_path / "a/a/._0.png").write_text("what a Mac leaves")
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert dataset.classes == ("a", "äpfel", "Жираф", "キリン")
    assert said[0] == "NOTE: 1 files in a are no images, such as notes.txt"


def test_one_name_in_two_spellings_is_one_class_or_refused(tmp_path: Path) -> None:
    image_folder(tmp_path / "a/train", ("\u00e4pfel", "dog"))
    image_folder(tmp_path / "a/test", ("a\u0308pfel", "dog"), seed=1)
    assert opened(tmp_path / "a", tmp_path / "store")[0].classes == ("dog", "\u00e4pfel")
    image_folder(tmp_path / "b", ("\u00e4pfel", "a\u0308pfel"))
    with pytest.raises(DataError, match="two folders have the name 'äpfel', in other characters; rename one"):
        opened(tmp_path / "b", tmp_path / "store")
    image_folder(tmp_path / "c", ("Cat", "cat"))
    assert "WARNING: classes Cat and cat differ in upper and lower case alone" in opened(tmp_path / "c", tmp_path)[1]


def kinds_of_files() -> dict[str, tuple[Any, dict[str, Any], list[int]]]:
    """An image of one color by the name of its file, how it is saved, and the color that is to come out."""
    red = Image.new("RGB", (16, 16), (200, 40, 40))
    clear = Image.new("RGBA", (16, 16), (200, 40, 40, 0))
    half = Image.new("RGBA", (16, 16), (200, 40, 40, 255))
    clear_palette = Image.new("P", (16, 16), 1)
    clear_palette.putpalette([0, 0, 0, 200, 40, 40])
    turned = Image.fromarray(np.full((16, 16, 3), (200, 40, 40), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    gray16 = Image.fromarray(np.full((16, 16), 120 * 257, np.uint16))
    frames = [Image.new("RGB", (16, 16), color) for color in ((200, 40, 40), (0, 0, 255))]
    color, gray, white = [200, 40, 40], [120] * 3, [255] * 3
    return {
        "rgb.png": (red, {}, color),
        "rgb.JPG": (red, {"quality": 95}, color),
        "rgb.webp": (red, {"lossless": True}, color),
        "rgb.bmp": (red, {}, color),
        "cmyk.jpg": (red.convert("CMYK"), {"quality": 95}, color),
        "palette.png": (red.convert("P", palette=Image.Palette.ADAPTIVE), {}, color),
        "gray.png": (Image.new("L", (16, 16), 120), {}, gray),
        "gray.jpg": (Image.new("L", (16, 16), 120), {}, gray),
        "one bit.png": (Image.new("1", (16, 16), 1), {}, white),
        "16 bits.png": (gray16, {}, gray),
        "16 bits.tif": (gray16, {}, gray),
        "clear.png": (clear, {}, white),
        "opaque.png": (half, {}, color),
        "gray and alpha.png": (Image.new("LA", (16, 16), (120, 255)), {}, gray),
        "palette with clear.png": (clear_palette, {"transparency": bytes([255, 0])}, white),
        "turned.jpg": (turned, {"exif": exif, "quality": 95}, color),
        "moving.gif": (frames[0], {"save_all": True, "append_images": frames[1:]}, color),
    }


@pytest.mark.parametrize("name", kinds_of_files())
def test_files_of_every_kind_come_out_in_their_color(tmp_path: Path, name: str) -> None:
    image, how, color = kinds_of_files()[name]
    for folder in "a", "b":
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "set" / folder / "x.png")
        image.save(tmp_path / "set" / folder / f"y {name}", **how)
    dataset, _ = opened(tmp_path / "set", tmp_path / "store")
    found = np.concatenate([dataset.read(part)[0] for part in ("train", "test")])
    colors = found.reshape(4, -1, 3).mean(1)
    assert (dataset.image_size, dataset.in_channels) == (16, 3)
    assert sum(np.abs(one - color).max() < 6 for one in colors) == 2


def test_a_rotated_photograph_is_turned_before_its_middle_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 220  # bright on the left; its camera was turned by a quarter
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in "a", "b":
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(pixels).save(tmp_path / "set" / folder / f"{number}.jpg", exif=exif)
    image = opened(tmp_path / "set", tmp_path / "store", ",size=40,fit=stretch")[0].read("train")[0][0]
    assert image[:18].min() > 200
    assert image[22:].max() < 20


@pytest.mark.parametrize(("fit", "dark"), [("crop", 0.0), ("pad", 0.5), ("stretch", 0.0)])
def test_what_is_no_square_becomes_one_as_asked(tmp_path: Path, fit: str, dark: float) -> None:
    for folder in "a", "b":
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (100, 50), (200, 100 + number, 200)).save(tmp_path / "set" / folder / f"{number}.png")
    dataset, said = opened(tmp_path / "set", tmp_path / "store", f",size=24,fit={fit}")
    assert dataset.image_size == 24
    assert (dataset.read("train")[0][0] == 0).all(-1).mean() == dark
    assert any(line.startswith("NOTE: images of 100x50 pixels were resized to 24x24; where") for line in said)


@pytest.mark.parametrize(
    ("sizes", "options", "size", "channels"),
    [
        ([(96, 96)], "", 96, 3),
        ([(97, 97)], "", 32, 3),
        ([(28, 28), (30, 30)], "", 32, 3),
        ([(28, 30)], "", 32, 3),
        ([(200, 200)], ",size=64", 64, 3),
        ([(28, 28)], ",channels=1", 28, 1),
    ],
)
def test_the_size_is_theirs_where_they_are_small_squares_else_as_asked_or_usual(
    tmp_path: Path, sizes: list[tuple[int, int]], options: str, size: int, channels: int
) -> None:
    for folder in "a", "b":
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(2):
            made = Image.new("RGB", sizes[number % len(sizes)], (number, 5, 9))
            made.save(tmp_path / "set" / folder / f"{number}.png")
    dataset = opened(tmp_path / "set", tmp_path / "store", options)[0]
    assert (dataset.image_size, dataset.in_channels) == (size, channels)


def test_images_that_are_all_gray_have_one_channel(tmp_path: Path) -> None:
    for folder in "a", "b":
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (8, 8), 100 + number).save(tmp_path / "set" / folder / f"{number}.png")
    dataset = opened(tmp_path / "set", tmp_path / "store")[0]
    assert dataset.in_channels == 1
    assert {*np.unique(np.concatenate([dataset.read(part)[0] for part in ("train", "test")]))} == {100, 101}


def test_broken_files_are_all_named_and_left_out_where_that_is_asked(tmp_path: Path) -> None:
    path = image_folder(tmp_path / "set", each=5)
    (path / "cat/0.png").write_text("no image")
    (path / "dog/3.png").write_bytes((path / "dog/3.png").read_bytes()[:-40])
    (path / "dog/4.png").unlink()
    (path / "dog/4.png").symlink_to(tmp_path / "none")
    with pytest.raises(DataError) as caught:
        opened(path, tmp_path / "store")
    said = str(caught.value)
    assert said.startswith(f"{path}: 3 of 10 images cannot be read: cat/0.png (not an image), dog/3.png (")
    assert "dog/4.png (no such file or directory)" in said
    assert said.endswith("; repair or remove them, or add ,broken=skip behind the path")
    assert "\n" not in said
    dataset, notes = opened(path, tmp_path / "store", ",broken=skip")
    assert np.bincount(np.concatenate([dataset.read(part)[1] for part in ("train", "test")])).tolist() == [4, 3]
    assert any(note.startswith("NOTE: 3 of 10 images cannot be read: cat/0.png") for note in notes)
    assert opened(path, tmp_path / "store", ",broken=skip")[1] == notes


def test_an_image_that_claims_too_many_pixels_and_a_program_are_not_decoded(tmp_path: Path) -> None:
    path = image_folder(tmp_path / "set", each=5)
    bomb = bytearray((path / "cat/0.png").read_bytes())
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    (path / "cat/0.png").write_bytes(bomb)
    (path / "dog/0.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(DataError, match=r"2 of 10 images cannot be read: cat/0.png \(.*\), dog/0.png \(not an image\)"):
        opened(path, tmp_path / "store")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (["0.png"], "holds images but no folder for each class"),
        (["cat/0.png"], "holds images of one folder only, cat; needed are folder/CLASS/image.png"),
        (["test/cat/0.png", "test/dog/0.png"], "has a folder test but none named train"),
        (["train_images/0.png", "test_images/0.png"], "images in test_images, train_images are in no folders of cla"),
        (["cat/0.heic", "dog/0.HEIC"], "images of type .heic are not read; convert them to JPEG or PNG"),
        (["cat/0.txt"], "is in no form that is read; give a folder of images by class"),
        (["a/0.png", "b/0.png"], "each class has one image"),
    ],
)
def test_a_folder_of_another_kind_is_refused_with_what_is_needed(tmp_path: Path, made: list[str], words: str) -> None:
    for name in made:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path) if path.suffix == ".png" else path.touch()
    (tmp_path / "set/.DS_Store").touch()
    with pytest.raises(DataError, match=words) as said:
        opened(tmp_path / "set", tmp_path / "store")
    assert str(said.value).startswith(str(tmp_path / "set"))


def test_test_images_without_classes_are_left_out_and_others_taken(tmp_path: Path) -> None:
    image_folder(tmp_path / "a/train", each=5)
    (tmp_path / "a/test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a/test/0.png")
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert (dataset.n_train, dataset.n_test) == (8, 2)
    assert said[0] == "NOTE: the images in test are in no folders of classes and are left out"


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("training_set", "test_set"), ("Train-Images", "Test-Images")]
)
def test_parts_are_known_by_the_first_word_of_their_folders(tmp_path: Path, train: str, test: str) -> None:
    image_folder(tmp_path / "a" / train, each=5)
    image_folder(tmp_path / "a" / test, each=3, seed=1)
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert (dataset.n_train, dataset.n_test, dataset.classes, said) == (10, 6, ("cat", "dog"), [])


def test_classes_may_be_called_as_parts_are(tmp_path: Path) -> None:
    image_folder(tmp_path / "a", ("car", "test_tube", "train"), each=5)
    assert opened(tmp_path / "a", tmp_path / "store")[0].classes == ("car", "test_tube", "train")
    image_folder(tmp_path / "b", ("test_tube", "train_track"), each=5)
    with pytest.raises(DataError, match="where these are the classes, put them into a folder named train$"):
        opened(tmp_path / "b", tmp_path / "store")
    image_folder(tmp_path / "c/train", ("test_tube", "train_track"), each=5)
    assert opened(tmp_path / "c", tmp_path / "store")[0].classes == ("test_tube", "train_track")


def test_a_folder_that_holds_one_folder_alone_is_looked_into(tmp_path: Path) -> None:
    image_folder(tmp_path / "a/archive/photos", each=5)
    (tmp_path / "a/__MACOSX").mkdir()
    dataset, said = opened(tmp_path / "a", tmp_path / "store")
    assert (dataset.classes, len(said)) == (("cat", "dog"), 1)
    assert dataset.origin.startswith(str(tmp_path / "a/archive/photos,"))


def test_images_in_both_parts_and_images_that_are_alike_are_counted(tmp_path: Path) -> None:
    image_folder(tmp_path / "a/train", each=5)
    image_folder(tmp_path / "a/test", each=3)
    said = opened(tmp_path / "a", tmp_path / "store")[1]
    assert said == [
        "WARNING: 6 of 6 test images are training images too, such as test/cat/0.png (train/cat/0.png); "
        "the test accuracy will be too high"
    ]
    for folder in "cat", "dog":
        (tmp_path / "b" / folder).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / "b" / folder / f"{number}.png")
    assert any("all training images are alike" in line for line in opened(tmp_path / "b", tmp_path / "store")[1])
