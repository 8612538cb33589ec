"""The tasks of inspect_ai, run by inspect_ai itself with a model that answers from a list; its log is read back."""

import gc
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

inspect_ai = pytest.importorskip(
    "inspect_ai", reason="inspect_ai is not installed: pip install 'lad-reasoner[inspect]'"
)

from helpers.chat_server import Act, ChatServer  # noqa: E402
from lad_reasoner.errors import InputError  # noqa: E402
from lad_reasoner.evaluation.benchmark import draw_pairs, limit_pairs, open_benchmark  # noqa: E402
from lad_reasoner.evaluation.inspect_tasks import lad_metrics, miniloco_task, pairs_task  # noqa: E402
from lad_reasoner.evaluation.run import Run, measure_run  # noqa: E402
from lad_reasoner.judges import load_judge  # noqa: E402

ANSWERS = ("yes", "no", "yes", "perhaps")


@pytest.fixture
def collected() -> Iterator[None]:
    """inspect_ai leaves streams open: they end with its test, where warnings are ignored, and not in a later one."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("collected")
def test_miniloco_and_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    monkeypatch.chdir(tmp_path)
    outputs = [
        ModelOutput.from_content("mockllm/model", f"<think>Two nuts.</think><answer>{answer}</answer>")
        for answer in ANSWERS
    ]
    for output in outputs:
        output.usage = ModelUsage(input_tokens=1, output_tokens=1)  # counting them would download a tokenizer
    model = get_model("mockllm/model", custom_outputs=outputs)
    (log,) = inspect_ai.eval(
        miniloco_task(number=4, pictures="pictures"),
        model=model,
        log_dir="logs",
        log_format="json",
        display="none",
        max_connections=1,
    )
    assert log.status == "success", log.error
    chosen = limit_pairs(draw_pairs(open_benchmark("miniloco"))[0], 4)
    assert [sample.id for sample in log.samples] == [pair.query for pair in chosen]
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 8
    metrics = {name: value.value for score in log.results.scores for name, value in score.metrics.items()}
    right = sum(pair.label == answer for pair, answer in zip(chosen, ANSWERS, strict=True))
    assert metrics["invalid"] == 0.25
    assert sum(sample.scores["verdict"].value == "C" for sample in log.samples) == right
    # The same metrics as `eval --model file:LOG` computes from the log.
    benchmark = open_benchmark("miniloco")
    judge = load_judge(f"file:{next((tmp_path / 'logs').glob('*.json'))}", defaults={"benchmark": benchmark})
    lines = list(Run(tmp_path / "run", judge, benchmark, limit=4).predict())
    assert [line.verdict.answer for line in lines] == ["yes", "no", "yes", "invalid"]
    measured = measure_run(lines, resamples=0).pooled
    assert metrics["balanced_accuracy"] == pytest.approx(measured.balanced_accuracy.value)


def test_any_benchmark(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        Image.radial_gradient("L").save(tmp_path / f"{name}.png")
    (tmp_path / "pairs.csv").write_text("query,references,label\na.png,b.png,good\n")
    task = pairs_task(root=str(tmp_path / "pairs.csv"), benchmark="manifest", kinds="logical, good")
    (sample,) = task.dataset
    assert (sample.id, sample.target) == ("a.png", "no")
    kinds = [part.type for part in sample.input[0].content]
    assert kinds == ["image", "image", "text"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("collected")
def test_a_model_behind_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """inspect_ai takes `<think>…</think>` out of what such a model wrote: it is put back, in scorer and log."""
    pytest.importorskip("openai", reason="openai, which inspect_ai asks services with, is not installed")
    monkeypatch.chdir(tmp_path)
    answer = Act("answer", "<think>Two nuts.</think><answer>yes</answer>")
    with ChatServer(
        lambda body, before: answer, {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    ) as chat:
        monkeypatch.setenv("LOCAL_BASE_URL", chat.url)
        monkeypatch.setenv("LOCAL_API_KEY", "x")
        (log,) = inspect_ai.eval(
            miniloco_task(number=2, pictures="pictures"),
            model="openai-api/local/micro",
            log_dir="logs",
            log_format="json",
            display="none",
        )
    assert log.status == "success", log.error
    scores = [sample.scores["verdict"] for sample in log.samples]
    assert [(score.answer, score.explanation) for score in scores] == [("yes", "Two nuts.")] * 2
    benchmark = open_benchmark("miniloco")
    judge = load_judge(f"file:{next((tmp_path / 'logs').glob('*.json'))}", defaults={"benchmark": benchmark})
    lines = list(Run(tmp_path / "run", judge, benchmark, limit=2).predict())
    assert [(line.verdict.answer, line.verdict.reasoning) for line in lines] == [("yes", "Two nuts.")] * 2


def test_pictures_that_another_version_drew_are_drawn_anew(tmp_path: Path) -> None:
    miniloco_task(number=1, pictures=str(tmp_path))
    first, *others = sorted(path for path in tmp_path.rglob("*.png"))
    right, others_before = first.read_bytes(), [path.stat().st_mtime_ns for path in others]
    first.write_bytes(others[0].read_bytes())
    miniloco_task(number=1, pictures=str(tmp_path))
    assert first.read_bytes() == right
    assert [path.stat().st_mtime_ns for path in others] == others_before


def test_a_benchmark_needs_its_root() -> None:
    with pytest.raises(InputError, match="-T root=PATH is missing"):
        pairs_task(benchmark="mvtec-ad")


def test_no_samples_have_no_metrics() -> None:
    assert lad_metrics()([]) == {}


def test_the_entry_point_is_there() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (module,) = tomllib.loads(text)["project"]["entry-points"]["inspect_ai"].values()
    assert importlib.import_module(module).miniloco_task is miniloco_task
