"""``piwsl configs``: what it lists is what is there, and a copy is the file itself."""

import subprocess
import sys
import zipfile
from pathlib import Path

import filelock
import pytest
import yaml

from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.configs import shipped

ROOT = Path(__file__).parents[3]
FILES = {f"{path.parent.name}/{path.stem}": path for path in ROOT.glob("configs/*/*.yaml")}


def test_every_config_is_listed_with_what_it_is_for(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert listed.keys() == FILES.keys()
    for name, words in listed.items():
        comment = " ".join(FILES[name].read_text().replace("\n#", " ").split())
        assert len(words.split()) >= 2 and comment.startswith(f"# {words}"), name
        assert comment[len(words) + 2] in ".:", name


@pytest.mark.parametrize("given", ["mace/weak", "configs/mace/weak.yaml", "mace/weak.yaml"])
def test_a_copy_is_the_file_in_this_folder(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configs", given]) == 0
    assert (tmp_path / "weak.yaml").read_bytes() == FILES["mace/weak"].read_bytes()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("train with: mace_run_train --config weak.yaml")
    settings = yaml.safe_load(FILES["mace/weak"].read_text())
    files = [value for value in settings.values() if str(value).startswith("data/")]
    assert len(files) == 3 and all(file in second for file in files)
    assert [path.name for path in tmp_path.iterdir()] == ["weak.yaml"]


def test_nothing_is_said_of_files_that_are_there(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["configs", "nequip/weak", "--out", str(tmp_path / "mine.yaml")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"train with: nequip-train {tmp_path / 'mine.yaml'}")


def test_a_file_of_the_user_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("weak.yaml").write_text("mine")
    assert main(["configs", "nequip/weak"]) == 2
    assert "weak.yaml exists" in capsys.readouterr().err
    assert Path("weak.yaml").read_text() == "mine"
    assert main(["configs", "nequip/weak", "--overwrite"]) == 0
    assert Path("weak.yaml").read_bytes() == FILES["nequip/weak"].read_bytes()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["weak"], "did you mean mace/weak or nequip/weak?"),
        (["mace/waek"], "did you mean mace/weak?"),
        (["xyz"], "piwsl configs lists them"),
        (["--out", "new.yaml"], "give the NAME of a config"),
        (["mace/weak", "--out", "."], ". is a folder"),
    ],
)
def test_wrong_calls_end_in_one_line_and_write_nothing(given, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configs", *given]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_wheel_has_them_all(tmp_path, monkeypatch):
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert (tmp_path / "installed/piwsl_plugins/py.typed").is_file()
    site = Path(filelock.__file__).parents[1]
    code = (
        f"import sys; sys.path[:] = ['installed', *sys.path, {str(site)!r}]\n"
        "from piwsl_plugins.tools.command import main\n"
        "sys.exit(main(['configs', 'nequip/hessian']))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]  # without the package installed here
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hessian.yaml").read_bytes() == FILES["nequip/hessian"].read_bytes()
    found = (tmp_path / "installed/piwsl_plugins/configs").glob("*/*.yaml")
    assert {f"{path.parent.name}/{path.stem}" for path in found} == FILES.keys()


def test_an_installation_without_them_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipped, "_FOLDERS", (tmp_path, tmp_path / "none"))
    assert main(["configs"]) == 2
    assert "install piwsl-plugins again" in capsys.readouterr().err
