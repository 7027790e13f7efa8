"""phonopy's files: found in a folder, read as every version wrote them, and checked."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import lzma
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError, reason_of

if TYPE_CHECKING:
    from ase import Atoms

#: phonopy's own names, in the order in which it looks for them, before those of other files
_NAMES = ("phonopy_params", "phonopy_disp", "phonopy", "phono3py_params", "phono3py_disp")
_ENDINGS = (".yaml", ".yaml.xz", ".yaml.gz")
#: coordinates (fractional) of one atom in two files
_SAME = 1e-4


def require_phonopy(option: str) -> None:
    """Refuse an option where phonopy is not installed, or too old.

    Raises:
        InputError: with the remedy.
    """
    if importlib.util.find_spec("phonopy") is None:
        raise InputError(f"{option} works through phonopy: pip install phonopy")
    import phonopy

    if int(phonopy.__version__.partition(".")[0]) < 4:
        raise InputError(
            f"{option} needs phonopy 4 or newer, not {phonopy.__version__}: "
            "pip install --upgrade phonopy"
        )


def candidates(path: Path) -> list[Path]:
    """The file itself, or phonopy's files of a folder in the order in which phonopy looks.

    Raises:
        InputError: for a name that is nothing, a folder without such files, and one that has
            several of other names.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file")
    named = [path / f"{name}{ending}" for name in _NAMES for ending in _ENDINGS]
    found = [file for file in named if file.is_file()]
    if found:
        return found
    others = [file for file in sorted(path.iterdir()) if file.name.endswith(_ENDINGS)]
    found = [file for file in others if file.is_file() and _describes_a_supercell(file)]
    if not found:
        raise InputError(
            f"{path}: this folder has no file of phonopy (phonopy_params.yaml, phonopy_disp.yaml, "
            "phonopy.yaml); of POSCAR and FORCE_SETS alone, phonopy-init -d --dim N N N makes one"
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{path}: this folder has several files of phonopy; give one of {names}")
    return found


def _describes_a_supercell(path: Path) -> bool:
    text = "\n" + text_of(path)
    return "\nunit_cell:" in text and "\nsupercell_matrix:" in text


def text_of(path: Path, size: int = -1) -> str:
    """The text of a file, which may be compressed; of its first ``size`` bytes if given."""
    openers: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}
    opened = openers.get(path.suffix, open)
    with opened(path, "rb") as file:
        return str(file.read(size).decode(errors="replace"))


def load_phonopy(path: Path, option: str) -> Any:
    """phonopy's object from a file, with the forces or force constants in it or beside it.

    Args:
        path: ``phonopy_disp.yaml``, ``phonopy_params.yaml``, ``phonopy.yaml`` or the like.
        option: who asks, for messages.

    Returns:
        a ``phonopy.Phonopy`` in the units of its calculator; without the non-analytical term, and
        without force constants unless the files hold some.

    Raises:
        InputError: without phonopy, and for files that it cannot read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    require_phonopy(option)
    import phonopy

    try:
        text = text_of(path)
        refuse_tags(text)
        cells = _cells(text)
        with _inside(path.resolve().parent), warnings.catch_warnings():
            # phonopy would take those of FORCE_SETS, of whatever supercell they are
            warnings.filterwarnings("error", message="Displacements in ")
            phonon = phonopy.load(
                io.StringIO(spelt_as_now(text)),
                primitive_matrix=_primitive_matrix(text, cells),
                is_nac=False,
                produce_fc=False,
                log_level=0,
            )
    except UserWarning as warning:
        raise InputError(
            f"{path}: the displacements in FORCE_SETS beside this file are others than its own; "
            "keep together what belongs together"
        ) from warning
    except Exception as error:  # whatever a file of another kind leads to
        raise InputError(f"{path}: phonopy cannot load this ({reason_of(error)})") from error
    check_order(path, phonon, cells.get("supercell"))
    return phonon


def without_forces(path: Path) -> InputError:
    """What to do with a file of displacements that nobody has calculated, or collected, yet."""
    return InputError(
        f"{path}: neither this file nor FORCE_SETS or FORCE_CONSTANTS beside it holds forces or "
        "force constants; collect them from the outputs of the displaced supercells, in their "
        "order, with phonopy-init -f OUTPUT … (phonopy 4; before, phonopy -f)"
    )


def refuse_tags(text: str) -> None:
    """Refuse YAML with tags, as phonopy's loader makes whatever Python object they name.

    Raises:
        ValueError: naming the line.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for event in yaml.parse(text, Loader=loader):
        tag = getattr(event, "tag", None)
        if tag:
            line = event.start_mark.line + 1
            raise ValueError(f"line {line} has the tag {tag}, which phonopy does not write")


def spelt_as_now(text: str) -> str:
    """phonopy 4 refuses the Angstrom that versions up to 2.6 wrote among the units."""
    return re.sub(
        r"(?<=^physical_unit:\n)(?:[ \t]+.*\n)+",
        lambda units: units[0].replace("Angstrom", "angstrom"),
        text,
        count=1,
        flags=re.MULTILINE,
    )


def units_are_assumed(path: Path) -> bool:
    """Whether a file says neither its units nor its calculator, as some of old versions do."""
    units = re.search(r"^ +(?:length|calculator):", text_of(path), re.MULTILINE)
    return units is None


def _cells(text: str) -> dict[str, Any]:
    """The blocks of a file that describe cells, each as it is."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = re.findall(
        r"^(unit_cell|primitive_cell|supercell):[ \t]*\n((?:[ \t-].*\n|\n)+)", text, re.MULTILINE
    )
    return {name: yaml.load(block, Loader=loader) for name, block in found}


def _primitive_matrix(text: str, cells: dict[str, Any]) -> Any:
    """What phonopy's loader is told of the primitive cell; a matrix in the file comes first.

    Files up to 2.6 have none where the primitive cell is the unit cell; phonopy 4 would then look
    for a smaller one, to which compact force constants do not belong.
    """
    if re.search(r"^primitive_matrix:", text, re.MULTILINE):
        return "auto"
    if "primitive_cell" not in cells or "unit_cell" not in cells:
        return "P"
    unit, primitive = (np.array(cells[name]["lattice"]) for name in ("unit_cell", "primitive_cell"))
    # a list, as phonopy compares it with the word auto
    return np.linalg.solve(unit.T, primitive.T).tolist()


def check_order(path: Path, phonon: Any, supercell: dict[str, Any] | None) -> None:
    """Refuse forces and force constants in another order of atoms than that of phonopy 4.

    Raises:
        InputError: if the supercell in the file is not the one that phonopy makes.
    """
    points = (supercell or {}).get("points") or (supercell or {}).get("atoms")
    if not points:
        return
    given = np.array([point.get("coordinates", point.get("position")) for point in points])
    made = phonon.supercell.scaled_positions
    same = given.shape == made.shape
    if same:
        away = given - made
        same = bool(np.abs(away - np.rint(away)).max() < _SAME)
        same &= [point["symbol"] for point in points] == list(phonon.supercell.symbols)
    rows = {point["reduced_to"] - 1 for point in points if "reduced_to" in point}
    if phonon.force_constants is not None and len(phonon.force_constants) < len(points) and rows:
        same &= rows == set(phonon.primitive.p2s_map.tolist())
    if not same:
        raise InputError(
            f"{path}: the supercell in this file is another one, or in another order, than the one "
            f"that phonopy {phonon.version} makes of its unit cell; make the file anew"
        )


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """phonopy looks for what belongs to a file in the working directory, not beside the file."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def as_atoms(cell: Any, length: float) -> Atoms:
    """A ``PhonopyAtoms`` as ASE's, periodic; ``length`` is phonopy's unit of length in Å."""
    from ase import Atoms

    return Atoms(cell.numbers, cell.positions * length, cell=cell.cell * length, pbc=True)
