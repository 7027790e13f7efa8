"""The configs of this repository run as they are, but for their length.

Those of fine-tuning do so in ``test_fine_tuning.py``.
"""

from __future__ import annotations

import pytest
import yaml

from .command_line import ROOT, metrics, run

pytestmark = pytest.mark.slow

CONFIGS = ROOT / "configs/nequip"
NAMES = sorted(
    path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith(("finetune", "soften"))
)
TERMS = ("pitc", "hessian", "pool")
SHORT = ["trainer.max_epochs=1", "+trainer.limit_train_batches=3"]


@pytest.mark.parametrize("name", NAMES)
def test_config(name, tmp_path):
    arguments = [f"configs/nequip/{name}.yaml", f"hydra.run.dir={tmp_path}", *SHORT]
    if "start_epoch" in (CONFIGS / f"{name}.yaml").read_text():
        arguments.append("training_module.loss.start_epoch=0")
    log = run("nequip-train", *arguments, directory=ROOT).stdout
    assert "TEST RUN END" in log
    loss = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["training_module"]["loss"]
    columns = metrics(tmp_path)
    found = {term for term in TERMS if columns.get(f"train_loss_epoch/{term}", [0.0])[0] > 0}
    # the correction between two methods is trained by NequIP alone
    term = next((t for t in ("hessian", "pool") if f"{t}_file" in loss), "pitc")
    assert found == (set() if name == "correction" else {term})
