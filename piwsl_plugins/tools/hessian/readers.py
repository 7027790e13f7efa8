"""Which reader takes a file of ``--from_output``, by what the file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from .cclib_outputs import read_with_cclib
from .formatted_checkpoint import is_formatted_checkpoint, read_formatted_checkpoint
from .frequency_jobs import FrequencyJob
from .gamess_punch import is_punch, read_punch
from .gaussian_archive import is_gaussian, read_gaussian
from .orca_hessian import is_orca_hessian, read_orca_hessian
from .plain_hessians import is_plain, read_plain
from .qcschema import is_json, is_qcschema, read_qcschema

#: endings of inputs, of Gaussian and of others
_INPUTS = (".gjf", ".com", ".inp")


def read_jobs(path: Path, text: str, geometry: Path | None) -> Sequence[FrequencyJob]:
    """The frequency jobs of a file.

    Args:
        path: the file.
        text: what it holds.
        geometry: of a file of force constants alone; None to look beside it.

    Raises:
        InputError: for a file that cannot be read, or that has no Hessian.
    """
    if is_formatted_checkpoint(text):
        return [read_formatted_checkpoint(path, text)]
    if is_orca_hessian(text):
        return [read_orca_hessian(path, text)]
    if is_qcschema(text):
        return read_qcschema(path, text)
    if is_punch(text):
        return [read_punch(path, text)]
    if is_plain(text):
        return [read_plain(path, text, geometry)]
    if path.suffix == ".hess":
        raise InputError(f"{path}: not a whole .hess file of ORCA, NWChem or Psi4")
    if is_gaussian(text):
        return read_gaussian(path, text)
    if is_json(text):
        raise InputError(
            f"{path}: JSON without a result of QCSchema; give one of driver 'hessian', or a file "
            "of ASE's VibrationsData to --from_vibrations"
        )
    if path.suffix.lower() in _INPUTS:
        raise InputError(
            f"{path}: this is an input; give what the job has written (of Gaussian its output or "
            "its .fchk file)"
        )
    return [read_with_cclib(path, text)]


def text_of(path: Path) -> str:
    """What a file holds.

    Raises:
        InputError: for a file that is not there, empty or no text.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the files in it that hold Hessians")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    content = path.read_bytes()
    if not content.strip():
        raise InputError(f"{path}: the file is empty")
    if b"\0" in content[:4096]:
        raise InputError(
            f"{path}: is no text; of a checkpoint of Gaussian, give the formatted one (formchk "
            "job.chk job.fchk)"
        )
    return content.decode(errors="replace").replace("\r\n", "\n")
