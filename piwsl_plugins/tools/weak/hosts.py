"""The trainer's own command line, with files, seeds and folders of a correction added."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError, RunError
from ...nequip._command_line import with_config_options
from .correction_training import CorrectionTraining
from .nequip_config import RUN_FOLDER, NequIPConfig

_PLACEHOLDER = re.compile(r"\{(train|valid|seed|folder|name)\}")
#: without these, models would learn something else, all the same, or be found nowhere
_NEEDED = ("{train}", "{seed}", "{folder}")
#: name of every correction
_NAME = "correction"
#: names of a model beside which others may stand
_PREFERRED = (f"{_NAME}_stagetwo.model", f"{_NAME}.model", "best.ckpt")
_ENDINGS = (".model", ".nequip.zip", ".nequip.pt2", ".nequip.pth", ".ckpt")
#: MACE 0.3.16's default
_BATCH_SIZE = 10


@dataclasses.dataclass(frozen=True)
class HostCommand:
    """A command that trains a model.

    Attributes:
        words: of the command line, the program with its folder.
        kind: "mace", "nequip", or "any" for one with placeholders.
    """

    words: tuple[str, ...]
    kind: str

    @classmethod
    def parse(cls, text: str) -> HostCommand:
        """Understand ``--train``.

        Raises:
            InputError: for a command that is not found, and one that is not known and does not say
                where files go.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InputError(f"--train={text}: {error}") from None
        if not words:
            raise InputError("--train: allowed is a command")
        name = Path(words[0]).name
        kind = {"mace_run_train": "mace", "nequip-train": "nequip"}.get(name, "any")
        if _PLACEHOLDER.search(text):
            kind = "any"
        missing = [needed for needed in _NEEDED if needed not in text]
        if kind == "any" and missing:
            raise InputError(
                f"--train={text}: it does not say where {' '.join(missing)} go; known are "
                "{train} {valid} {seed} {folder} {name}, and without them mace_run_train and "
                "nequip-train"
            )
        beside = Path(sys.executable).parent / words[0]
        program = shutil.which(words[0]) or (str(beside) if beside.is_file() else None)
        if program is None:
            raise InputError(
                f"--train={text}: there is no command {words[0]}; install it into this "
                "environment, or give its path"
            )
        for before, word in itertools.pairwise(words):
            file = word.rpartition("=")[2]
            # Hydra looks for these in its --config-path
            named = before in ("-cn", "--config-name") or word.startswith("--config-name=")
            if not named and file.endswith((".yaml", ".yml")) and not Path(file).is_file():
                raise InputError(f"--train={text}: there is no file {file}")
        command = cls((program, *words[1:]), kind)
        if kind == "nequip":
            config = NequIPConfig.read(command.words[1:])
            config.require_files()
            config.require_one_checkpoint()
        return command

    @property
    def identity(self) -> str:
        """The command, and a digest of the files that it names."""
        digest = hashlib.sha256()
        for word in self.words[1:]:
            path = Path(word.rpartition("=")[2])
            if path.is_file():
                digest.update(path.read_bytes())
        words = [Path(self.words[0]).name, *self.words[1:]]
        return f"{shlex.join(words)} ({digest.hexdigest()[:16]})"

    def require_batches(self, n: int) -> None:
        """Refuse a batch of MACE's that is larger than the training set.

        MACE 0.3.16 (mace/cli/run_train.py) leaves out a batch that is not full, and so would train
        nothing, but for ``--lbfgs``.

        Args:
            n: smallest number of frames that a correction is trained on.

        Raises:
            InputError: naming the size and what is allowed.
        """
        if self.kind != "mace" or "--lbfgs" in self.words:
            return
        size = str(self._option("batch_size", _BATCH_SIZE))
        if size.isdecimal() and int(size) > n:
            raise InputError(
                f"--train: its batch_size={size} is larger than the {n} frames that a correction "
                "is trained on, and MACE leaves out a batch that is not full; allowed is at most "
                f"{n}"
            )

    def _option(self, name: str, default: object) -> object:
        """An option of MACE: from the command line, else from its ``--config``."""
        given = {}
        for word, after in itertools.zip_longest(self.words, self.words[1:], fillvalue=""):
            option, sign, value = word.partition("=")
            given[option] = value if sign else after
        if f"--{name}" in given:
            return given[f"--{name}"]
        path = Path(given.get("--config", ""))
        if not path.is_file():
            return default
        import yaml

        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        return config.get(name, default) if isinstance(config, dict) else default

    def arguments(self, training: CorrectionTraining, elements: Sequence[int]) -> list[str]:
        """The whole command line of one training.

        Args:
            training: its files, seed and folder.
            elements: atomic numbers of training frames and pool.
        """
        if self.kind == "mace":
            return [*self.words, *_of_mace(training, elements)]
        if self.kind == "nequip":
            # with a loss of NequIP's own, nequip-train takes no config file as an argument
            named = with_config_options(list(self.words[1:]))
            config = NequIPConfig.read(self.words[1:])
            return [self.words[0], *named, *config.overrides_for(training)]
        values = {
            "train": training.train_file.absolute(),
            "valid": training.valid_file.absolute(),
            "folder": training.folder.absolute(),
            "seed": training.seed,
            "name": _NAME,
        }
        return [_PLACEHOLDER.sub(lambda m: str(values[m[1]]), word) for word in self.words]


def _of_mace(training: CorrectionTraining, elements: Sequence[int]) -> list[str]:
    """Options of ``mace_run_train``: those given last are in force, also over a config's.

    The offsets are taken off the labels, so that isolated atoms have no energy left.
    """
    folder = training.folder.absolute()
    energies = ", ".join(f"{z}: 0.0" for z in elements)
    return [
        f"--name={_NAME}",
        f"--seed={training.seed}",
        f"--train_file={training.train_file.absolute()}",
        f"--valid_file={training.valid_file.absolute()}",
        "--energy_key=REF_energy",
        "--forces_key=REF_forces",
        "--stress_key=REF_stress",
        f"--E0s={{{energies}}}",
        f"--work_dir={folder}",
        f"--model_dir={folder}",
        f"--log_dir={folder / 'logs'}",
        f"--checkpoints_dir={folder / 'checkpoints'}",
        f"--results_dir={folder / 'results'}",
    ]


def model_of(folder: Path) -> Path:
    """The model that a training left.

    Raises:
        RunError: if there is none, or it cannot be told which it is.
    """
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    others = sorted(
        path
        for path in folder.glob("*")
        if path.name.endswith(_ENDINGS) and not path.name.endswith("_compiled.model")
    )
    # Lightning's "last" stands beside the best one
    best = [path for path in others if path.stem != "last"] or others
    if len(best) != 1:
        found = ", ".join(path.name for path in best) or "no model"
        raise RunError(
            f"{folder}: the training left {found}; looked for was one called "
            f"{', '.join(_PREFERRED)}, or the only one with the ending {', '.join(_ENDINGS)}; let "
            f"the trainer write it there (NequIP: dirpath: {RUN_FOLDER} of its ModelCheckpoint)"
        )
    return best[0]
