"""An adapter that no file of the package knows: registered here, it is trained, saved, loaded, started from another's
folder, folded, served beside another, swept and reported."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl import AdaptedModel, load_adapter
from dept_vl.adapters import ADAPTERS, Adapter, Pair
from dept_vl.adapters.contract import check_size, first_rows
from dept_vl.config import OptimConfig
from dept_vl.plans.command import main as plan
from dept_vl.run.execute import run
from tests.tiny_runs import RATES, text_experiment, write_cola

NAME = "gated_pt"


class GatedPrompt(Adapter):
    """X' = [g P; X + h]: a prompt with a gate for each token, and one vector h added to the first `reach` tokens."""

    def __init__(
        self, init: Float[Tensor, "rows d_model"], *, num_virtual_tokens: int, reach: int = 4, gate: float | int = 1.0
    ) -> None:
        super().__init__()
        check_size("GatedPrompt", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        self.num_virtual_tokens, self.reach, self.gate, self.token_dim = num_virtual_tokens, reach, gate, init.shape[1]
        self.prompt = nn.Parameter(first_rows("GatedPrompt", init, num_virtual_tokens))
        self.gates = nn.Parameter(torch.full((num_virtual_tokens, 1), float(gate), device=init.device))
        self.added = nn.Parameter(torch.zeros(1, self.token_dim, device=init.device))

    def pair(self, text: None) -> Pair:
        return Pair(self.gates * self.prompt, self.added.expand(self.reach, -1))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt], "gates": [self.gates, self.added]}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS._entries, NAME, GatedPrompt)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cola(tmp_path_factory.mktemp("glue"))


def experiment(byte_t5: Path, data: Path, folder: Path, *, num: int = 3, **changes: object):
    adapter = {"name": NAME, "args": {"num_virtual_tokens": num, "reach": 5}, **changes}
    config = text_experiment(byte_t5, data, folder, adapter=adapter)
    return dataclasses.replace(config, optim=OptimConfig(lr={**RATES, "gates": 0.02}))


@pytest.mark.usefixtures("afresh")
def test_a_made_up_adapter_lives_a_whole_life(byte_t5, data, tmp_path):
    first = run(experiment(byte_t5, data, tmp_path / "first"))
    assert first["adapter"] == NAME and first["weights"]["by_group"]["gates"] == 3 + 16
    assert NAME in (tmp_path / "first" / "report.html").read_text()
    assert NAME in (tmp_path / "first" / "README.md").read_text()
    trained = load_adapter(tmp_path / "first")
    assert type(trained) is GatedPrompt and trained.config() == {"num_virtual_tokens": 3, "reach": 5, "gate": 1.0}
    folded = trained.fold()
    assert torch.equal(folded.prompt, (trained.gates * trained.prompt).detach()) and folded.shift.shape == (5, 16)

    start = {"from": str(tmp_path / "first")}
    second = run(experiment(byte_t5, data, tmp_path / "second", num=4, start=start))
    assert [each.partition(":")[0] for each in second["started_from"]["not_copied"]] == ["prompt", "gates"]

    run(text_experiment(byte_t5, data, tmp_path / "dept"))
    model = AdaptedModel.from_pretrained(tmp_path / "second", backbone=byte_t5)
    model.load_adapter(tmp_path / "dept", adapter_name="dept")
    rows = [{"sentence": f"The cats sleep {place}."} for place in range(4)]
    names = ["default", "dept", "dept", "default"]
    alone = [model.generate([row], [name])[0] for row, name in zip(rows, names, strict=True)]
    assert model.generate(rows, names) == alone


@pytest.mark.usefixtures("afresh")
def test_a_made_up_adapter_is_swept(byte_t5, data, tmp_path):
    config = experiment(byte_t5, data, tmp_path / "unused")
    (tmp_path / "base.yaml").write_text(json.dumps(json.loads(json.dumps(config.to_dict()))))
    told: list[str] = []
    flags = ["--config", str(tmp_path / "base.yaml"), "--grid", "adapter.args.num_virtual_tokens=2,3", "--jobs", "1"]
    assert plan([*flags, "--output_dir", str(tmp_path / "plans")], told.append) == 0
    assert "num_virtual_tokens=2" in "\n".join(told) and "num_virtual_tokens=3" in "\n".join(told)


def test_no_file_of_the_package_knows_it():
    found = subprocess.run(["grep", "-rlE", f"{NAME}|GatedPrompt", "dept_vl", "scripts", "configs"], text=True,
                           cwd=Path(__file__).parents[1], capture_output=True)  # fmt: skip
    assert not [line for line in found.stdout.splitlines() if line.endswith((".py", ".yaml", ".j2"))]
