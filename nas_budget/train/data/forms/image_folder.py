"""Folders of images by class, as torchvision's `ImageFolder` reads them, with or without a folder for each part."""

from __future__ import annotations

from pathlib import Path

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.labels import clean_name, few_of
from nas_budget.train.data.forms.form import Form, ImageFile, Part, RawData, listed_files, part_begun, part_named
from nas_budget.train.data.image_files import SUFFIXES, image_paths

SHAPE = "needed are folder/CLASS/image.png, or folder/train/CLASS/image.png and folder/test/CLASS/image.png"
OR_TABLE = "or beside them a CSV file with the label of each"


def subfolders(path: Path) -> list[Path]:
    """The folders in a folder, in order; hidden ones are left out."""
    return sorted(one for one in path.iterdir() if one.is_dir() and not is_hidden(one))


def is_hidden(path: Path) -> bool:
    """Whether this is what systems and archives lay beside what people see."""
    return path.name.startswith((".", "__MACOSX"))


def holds_classes(path: Path) -> bool:
    """Whether some folder in this one holds images."""
    return any(_first_image(folder) for folder in subfolders(path))


def _first_image(folder: Path) -> Path | None:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return next(found, None)


def is_image_folder(path: Path) -> bool:
    """Whether a folder holds images, or folders that do."""
    return path.is_dir() and _first_image(path) is not None


def parts_of(path: Path) -> dict[str, Path]:
    """The folders of the parts "train", "test" and "validation", as far as they are there."""
    found: dict[str, Path] = {}
    folders = subfolders(path)
    for folder in folders:
        if part := part_named(folder.name):
            found.setdefault(part, folder)
    for folder in folders:  # such as training_set; a class may be called test_tube
        if (part := part_begun(folder.name)) and holds_classes(folder):
            found.setdefault(part, folder)
    if (
        "train" in found
        and not holds_classes(found["train"])
        and any(map(_first_image, {*folders} - {*found.values()}))
    ):
        return {}  # a class is called train
    return found


def is_by_class(path: Path) -> bool:
    """Whether images in a folder, or in its folder for training, are in folders of classes; one alone is none."""
    train = parts_of(path).get("train")
    folders = subfolders(train or path)
    return sum(1 for one in folders if (train or not part_begun(one.name)) and _first_image(one)) > 1


def read_image_folder(path: Path) -> RawData:
    """The images of a folder, listed by class; classes are in order of their names.

    Where there are folders for training, test and validation, images for validation are test images if there are no
    others, and else training images: validation images are chosen among these later.
    """
    found = parts_of(path)
    if "train" not in found:
        if found and {*found.values()} == {*subfolders(path)}:
            names = few_of([folder.name for folder in found.values()])
            raise DataError(f"{path}: has a folder {names} but none named train; {SHAPE}")
        found = {"train": path}
    notes: list[str] = []
    if "test" in found and not holds_classes(found["test"]):
        notes.append(f"the images in {found.pop('test').name} are in no folders of classes and are left out")
    if "validation" in found and not holds_classes(found["validation"]):
        notes.append(f"the images in {found.pop('validation').name} are in no folders of classes and are left out")
    if "validation" in found and "test" not in found:
        found["test"] = found.pop("validation")
        notes.append(f"the images in {found['test'].name} are the test images")
    by_class = {part: _by_class(folder, path, notes) for part, folder in found.items()}
    if "validation" in by_class:
        notes.append(
            f"the images in {found['validation'].name} join the training images; some of all are for validation"
        )
    classes = sorted({name for files in by_class.values() for name in files})
    if found["train"] == path and all(map(part_begun, classes)):
        raise DataError(
            f"{path}: the images in {few_of(classes)} are in no folders of classes; {SHAPE}, {OR_TABLE}; where "
            "these are the classes, put them into a folder named train"
        )
    if len(classes) == 1 and "test" not in found:
        raise DataError(f"{path}: holds images of one folder only, {classes[0]}; {SHAPE}, or give {path / classes[0]}")
    train = [by_class["train"], *([by_class["validation"]] if "validation" in by_class else [])]
    test = _part([by_class["test"]], classes) if "test" in by_class else None
    return RawData(_part(train, classes), test, tuple(classes), tuple(notes))


def _by_class(folder: Path, root: Path, notes: list[str]) -> dict[str, list[ImageFile]]:
    """The images of each class of one part."""
    classes: dict[str, list[ImageFile]] = {}
    for one in subfolders(folder):
        name = clean_name(one.name)
        if name in classes:
            raise DataError(f"{folder}: two folders have the name {name!r}, in other characters; rename one")
        images, others = image_paths(one)
        classes[name] = [ImageFile(image.relative_to(root).as_posix(), image) for image in images]
        if others:
            notes.append(f"{len(others):,} files in {one.relative_to(root)} are no images, such as {others[0].name}")
    if loose := [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]:
        if not any(classes.values()):
            raise DataError(f"{folder}: holds images but no folder for each class; {SHAPE}, {OR_TABLE}")
        notes.append(f"{len(loose):,} images are in no folder of a class and are left out, such as {loose[0]}")
    return classes


def _part(found: list[dict[str, list[ImageFile]]], classes: list[str]) -> Part:
    places = {name: number for number, name in enumerate(classes)}
    files = [(file, places[name]) for part in found for name, images in sorted(part.items()) for file in images]
    return Part([file for file, _ in files], [place for _, place in files])


def _files(path: Path) -> list[Path]:
    """The images that are read: those behind links too, and no other files."""
    return listed_files(read_image_folder(path))


IMAGE_FOLDER = Form("a folder of images by class", is_image_folder, read_image_folder, _files)
