"""The one interface: references once, queries streamed in order, bad ones in their places."""

import inspect
import io
import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from transformers import Dinov2Config, Dinov2Model

import lad_reasoner
from helpers import tiny
from helpers.planted import lamps
from helpers.shots import shot
from lad_reasoner import Failure, Inspector, Verdict, load_model, parse_response, runner
from lad_reasoner import inspector as module
from lad_reasoner.errors import ImageError, InputError, LadError, MachineError
from lad_reasoner.evaluation.benchmark import open_benchmark
from lad_reasoner.evaluation.run import Run
from lad_reasoner.files.changes import count_changes
from lad_reasoner.files.pictures import MIXED, Picture, read_picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges.evidence.efficientnet import EfficientNetLite0
from lad_reasoner.judges.evidence.judge import WithEvidence
from lad_reasoner.judges.hosted import HostedJudge
from lad_reasoner.judges.trivial import always_no
from lad_reasoner.runner import READ_AHEAD, Judged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    shot("good", 0, split="train").image.save(folder / "reference.png")
    shot("good", 1).image.save(folder / "good.png")
    shot("logical", 4).image.save(folder / "bad.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def inspector(folder: Path) -> Inspector:
    return Inspector(model="evidence", references=[folder / "reference.png"])


def test_the_verdict_is_whole(inspector: Inspector, folder: Path) -> None:
    (judged,) = inspector.run([folder / "bad.png"])
    assert isinstance(judged, Judged)
    verdict, heat = judged.verdict, judged.judgement.heat
    assert verdict.answer == "yes"
    assert verdict.anomalous
    assert 0.5 <= verdict.score <= 1
    assert verdict.query == str(folder / "bad.png")
    assert verdict.references == (str(folder / "reference.png"),)
    assert verdict.reasoning == parse_response(verdict.response).reasoning
    assert (verdict.model, verdict.prompt_version, verdict.tokens) == ("evidence", "evidence-14", 0)
    assert 0 < verdict.seconds < 60
    width, height = judged.pair.query.width, judged.pair.query.height
    for box in verdict.boxes:
        assert 0 <= box.x < box.x + box.width <= width + 1
        assert 0 <= box.y < box.y + box.height <= height + 1
    assert verdict.boxes
    assert heat is not None
    # The map and the boxes speak of the same thing.
    scale = width / heat.shape[1]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    box = verdict.boxes[0]
    assert box.x - scale <= (column + 0.5) * scale <= box.x + box.width + scale
    assert box.y - scale <= (row + 0.5) * scale <= box.y + box.height + scale
    assert heat.max() == pytest.approx(box.strength, rel=0.1)


def test_a_good_query(inspector: Inspector, folder: Path) -> None:
    verdict = inspector.inspect(folder / "good.png")
    assert (verdict.answer, verdict.anomalous) == ("no", False)
    assert verdict.score < 0.5
    # What differs most is shown all the same, for those who set a lower limit.
    assert verdict.boxes
    assert "missing" not in verdict.headline + verdict.reasoning
    assert verdict.details.startswith("Compared patch by patch")


def test_many_are_streamed_in_order_with_failures_in_their_places(inspector: Inspector, folder: Path) -> None:
    taken: list[str] = []

    def endless() -> Iterator[Path]:
        while True:
            for name in ("good.png", "broken.png", "bad.png", "gone.png"):
                taken.append(name)
                yield folder / name

    results = inspector.inspect_many(endless())
    first = [next(results) for _ in range(6)]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 6 + READ_AHEAD
    assert [Path(result.query).name for result in first] == taken[:6]
    assert [type(result) for result in first] == [Verdict, Failure, Verdict, Failure, Verdict, Failure]
    assert isinstance(first[1], Failure)
    assert "not a picture" in first[1].error
    alone = inspector.inspect(folder / "good.png")
    assert isinstance(first[0], Verdict)
    assert first[0].score == alone.score
    assert first[0].response == alone.response


class Batches:
    """A judge that remembers its batches, and refuses those that hold a picture of the width `fault`."""

    name, prompt_version, notes = "batches", "test", ()
    parameters: int | None = None

    def __init__(self, batch_size: int, fault: int = 0, error: type[LadError] = InputError, most: int = 99) -> None:
        self.batch_size, self.fault, self.error, self.most = batch_size, fault, error, most
        self.batches: list[list[int]] = []

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.batches.append([pair.query.width for pair in pairs])
        if self.fault in self.batches[-1] or len(pairs) > self.most:
            raise self.error("cannot take these pictures")
        return [Judgement.of(f"<think>{pair.query.width}</think><answer>no</answer>", 0.1) for pair in pairs]


def plain(width: int) -> Image.Image:
    picture = Image.new("RGB", (width, 50))
    picture.paste((255, 255, 255), (0, 0, 10, 10))
    return picture


def outcome(results: list[Verdict | Failure]) -> list[str]:
    return [result.reasoning if isinstance(result, Verdict) else result.error for result in results]


def test_batches_keep_the_order_and_pass_over_what_cannot_be_read(folder: Path) -> None:
    judge = Batches(3)
    queries = [plain(20), folder / "broken.png", plain(21), Failure(query="x", error="known"), plain(22), plain(23)]
    results = list(Inspector(judge, [plain(50)]).inspect_many(queries))
    assert judge.batches == [[20, 21], [22, 23]]
    assert [line.split(": ")[-1][:13] for line in outcome(results)] == [
        "20",
        "not a picture",
        "21",
        "known",
        "22",
        "23",
    ]
    assert len(list(Inspector(judge, [plain(50)]).inspect_many([folder / "gone.png"] * 4))) == 4
    assert len(judge.batches) == 2  # nothing to judge, nothing judged


def test_a_batch_is_streamed_as_soon_as_it_is_done() -> None:
    judge = Batches(5)
    queries = iter([plain(width) for width in range(20, 40)])
    results = Inspector(judge, [plain(50)]).inspect_many(queries)
    assert outcome([next(results) for _ in range(5)]) == ["20", "21", "22", "23", "24"]
    assert judge.batches == [[20, 21, 22, 23, 24]]
    assert next(queries).width == 25  # not one query too many was taken


@pytest.mark.parametrize(("kind", "most"), [(list, 16), (iter, 8)])  # of a collection the next batch is read meanwhile
def test_the_pictures_of_few_batches_are_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[list[Path]], Iterable[Path]], most: int
) -> None:
    read: weakref.WeakSet[Picture] = weakref.WeakSet()
    held: list[int] = []

    def remember(source: Path, depth: int | None) -> Picture:
        picture = read_picture(source, depth)
        read.add(picture)
        held.append(len(read))
        return picture

    inspector = Inspector(Batches(8), [plain(50)])
    monkeypatch.setattr(module, "read_picture", remember)
    assert sum(1 for _ in inspector.inspect_many(kind([folder / "good.png"] * 40))) == len(held) == 40
    assert 8 <= max(held) <= most


def test_in_a_batch_that_fails_only_the_faulty_query_does() -> None:
    judge = Batches(4, fault=22)
    results = list(Inspector(judge, [plain(50)]).inspect_many([plain(width) for width in range(20, 26)]))
    assert outcome(results) == ["20", "21", "cannot take these pictures", "23", "24", "25"]
    assert judge.batches == [[20, 21, 22, 23], [20], [21], [22], [23], [24, 25]]
    with pytest.raises(InputError, match="cannot take"):
        Inspector(judge, [plain(50)]).inspect(plain(22))


def test_a_batch_that_is_too_much_for_the_machine_is_judged_one_by_one() -> None:
    judge = Batches(4, error=MachineError, most=1)
    queries = [plain(width) for width in range(20, 24)]
    assert outcome(list(Inspector(judge, [plain(50)]).inspect_many(queries))) == ["20", "21", "22", "23"]
    with pytest.raises(MachineError):
        list(Inspector(Batches(4, fault=22, error=MachineError), [plain(50)]).inspect_many(queries))


def test_the_time_of_a_batch_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 16.0, 20.0, 21.0])
    monkeypatch.setattr(runner.time, "perf_counter", lambda: next(clock))
    results = Inspector(Batches(3), [plain(50)]).inspect_many([plain(width) for width in range(20, 24)])
    assert [result.seconds for result in results if isinstance(result, Verdict)] == [2.0, 2.0, 2.0, 1.0]


def test_evidence_lends_its_map_and_boxes_and_nothing_else(inspector: Inspector, folder: Path) -> None:
    both = Inspector(Batches(2), [folder / "reference.png"], evidence=True)
    paths = [folder / "bad.png", folder / "broken.png", folder / "good.png"]
    bad, broken, good = both.run(paths)
    assert isinstance(broken, Failure)
    for result, path in ((bad, paths[0]), (good, paths[2])):
        (seen,) = inspector.run([path])
        assert isinstance(result, Judged)
        assert isinstance(seen, Judged)
        assert (result.verdict.model, result.verdict.prompt_version) == ("batches", "test")
        assert (result.verdict.answer, result.verdict.score, result.verdict.reasoning) == ("no", 0.1, "384")
        assert result.verdict.boxes == seen.verdict.boxes
        assert (result.verdict.boxes_from, seen.verdict.boxes_from) == ("evidence", "")
        assert result.judgement.heat is not None
        assert seen.judgement.heat is not None
        assert np.array_equal(result.judgement.heat, seen.judgement.heat)
    assert inspector.inspect(paths[0]).boxes
    (note,) = both.judge.notes
    assert note.startswith("Map and boxes come from evidence, everything else from batches")


class Choosy:
    """Takes one reference, and has a limit of its own."""

    name, prompt_version, batch_size, notes, parameters, limit = "choosy", "choosy-1", 1, (), None, 0.3

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        return [Judgement("no", 0.2) for _ in pairs]

    def check_references(self, references: Sequence[Picture]) -> None:
        if len(references) > 1:
            raise InputError("give one reference")


def test_evidence_beside_a_judge_hides_neither_its_limit_nor_what_it_refuses(tmp_path: Path) -> None:
    """Each pair of an evaluation failed, instead of the evaluation at its start."""
    both = WithEvidence(Choosy(), always_no())
    assert both.limit == 0.3
    lamp = open_benchmark("folder", lamps(tmp_path / "lamps", good=3, bad=3))
    with pytest.raises(InputError, match="give one reference"):
        Run(tmp_path / "run", both, lamp, references=2)
    assert Run(tmp_path / "one", both, lamp).settings.limit == 0.3
    WithEvidence(always_no(), always_no()).check_references([])


def test_evidence_says_what_to_do_instead_of_pickling_it(inspector: Inspector) -> None:
    for held in (inspector, inspector.judge):
        with pytest.raises(TypeError, match="make an Inspector there, or call inspect_many, which uses all cores"):
            pickle.dumps(held)


@pytest.mark.parametrize("name", ["always-yes", "always-no", "random", "pixel-difference", "colour-histogram"])
def test_inspectors_with_judges_of_a_function_go_into_other_processes(folder: Path, name: str) -> None:
    inspector = Inspector(name, [folder / "reference.png"])
    copied = pickle.loads(pickle.dumps(inspector))
    assert copied.inspect(folder / "bad.png").score == inspector.inspect(folder / "bad.png").score


def test_judges_that_cannot_be_pickled_say_what_to_do(tmp_path: Path) -> None:
    """Python named a class of Transformers, and a lock."""
    tiny.save_qwen(tmp_path / "model")
    hosted = HostedJudge("http://127.0.0.1:9/v1", "big", cache=tmp_path / "answers.jsonl")
    for judge in (load_model(str(tmp_path / "model")), hosted):
        with pytest.raises(TypeError, match="cannot be copied into another process: make an Inspector there"):
            pickle.dumps(Inspector(judge, [tiny.picture(1)]))


def test_the_lent_evidence_may_have_another_backbone(tmp_path: Path) -> None:
    tiny.save_qwen(tmp_path / "model")
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    Dinov2Model(Dinov2Config(**vision)).save_pretrained(tmp_path / "vision")
    lent = load_model(str(tmp_path / "model"), evidence=True, backbone=str(tmp_path / "vision"))
    (result,) = Inspector(lent, [tiny.picture(1)]).run([tiny.picture(2)])
    assert isinstance(result, Judged)
    assert result.verdict.model == str(tmp_path / "model")
    assert result.verdict.boxes_from == f"evidence:{tmp_path / 'vision'}"
    assert result.judgement.heat is not None


def test_evidence_is_not_added_to_itself(folder: Path) -> None:
    with pytest.raises(InputError, match="already"):
        Inspector("evidence", [folder / "reference.png"], evidence=True)
    with pytest.raises(InputError, match="nowhere: no such model"):
        load_model(str(folder), evidence=True, backbone="nowhere")


@pytest.mark.parametrize("name", ["evidence", "micro"])
def test_inspectors_share_a_judge_in_several_threads(name: str) -> None:
    """Each verdict is made against the references that it names, whoever else asks the judge meanwhile."""
    products = ("circuit_board", "bolt_plate")
    references = {product: shot("good", 0, product, "train").image for product in products}
    queries = [shot(kind, 0, product).image for product in products for kind in ("good", "logical")]
    expected = {}
    for product in products:
        alone = Inspector(load_model(name), [references[product]])
        expected[product] = [without_time(alone.inspect(query)) for query in queries]
    assert expected["circuit_board"] != expected["bolt_plate"]

    shared = load_model(name)
    inspectors = {product: Inspector(shared, [references[product]]) for product in products}
    # One after the other: what the second one looked at must not change the first one's verdicts.
    for product in products:
        inspectors[product].inspect(queries[0])
    for product in products:
        assert without_time(inspectors[product].inspect(queries[1])) == expected[product][1]
    with ThreadPoolExecutor(4) as pool:
        orders = [(product, number) for number in range(len(queries)) for product in products] * 2
        futures = [pool.submit(inspectors[product].inspect, queries[number]) for product, number in orders]
        for (product, number), future in zip(orders, futures, strict=True):
            assert without_time(future.result()) == expected[product][number]


def without_time(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"seconds": 0.0})


def test_references_are_paid_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    features = EfficientNetLite0.features
    monkeypatch.setattr(EfficientNetLite0, "features", lambda self, *args: seen.append(1) or features(self, *args))
    inspector = Inspector(references=[folder / "reference.png"])
    inspector.inspect(folder / "good.png")
    paid = len(seen)
    inspector.inspect(folder / "good.png")
    inspector.inspect(folder / "bad.png")
    assert len(seen) == paid + 2


def test_queries_of_another_kind_are_judged(inspector: Inspector, folder: Path) -> None:
    good = Image.open(folder / "good.png")
    for name, changed in {
        "small": good.resize((120, 90)),
        "grey": good.convert("L"),
        "tall": good.resize((200, 400)),
        "tiny": good.resize((16, 16)),
    }.items():
        verdict = inspector.inspect(changed)
        assert verdict.answer in ("yes", "no"), name
        assert np.isfinite(verdict.score), name
    assert inspector.inspect(good.resize((256, 192))).answer == "no"
    long = inspector.inspect(good.resize((2000, 20)))  # no picture of the product
    assert (long.answer, long.anomalous) == ("invalid", False)
    assert "the picture has another shape than the references" in long.reason


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255), (9, 9, 12)])
def test_pictures_that_show_nothing_are_refused(inspector: Inspector, folder: Path, colour: tuple[int, ...]) -> None:
    blank = Image.new("RGB", (300, 200), colour)
    with pytest.raises(ImageError, match="picture: the picture has one colour only; look at the camera"):
        Inspector(references=[folder / "reference.png", blank])
    with pytest.raises(ImageError, match="one colour only"):
        inspector.inspect(blank)
    good, none, bad = inspector.inspect_many([folder / "good.png", blank, folder / "bad.png"])
    assert isinstance(none, Failure)
    assert none.query == "picture"
    assert isinstance(good, Verdict)
    assert isinstance(bad, Verdict)
    assert (good.answer, bad.answer) == ("no", "yes")


def test_noise_in_the_dark_shows_nothing(inspector: Inspector) -> None:
    noise = np.random.default_rng(0).poisson(3, (200, 300, 3)).astype(np.uint8)
    for values, reason in ((noise, "is black"), (255 - noise // 3, "is white")):
        with pytest.raises(ImageError, match=f"the picture {reason}"):
            inspector.inspect(values)
    grey = np.random.default_rng(0).normal(128, 3, (200, 300)).astype(np.uint8)
    assert inspector.inspect(grey).answer in ("yes", "no")  # a plain surface


def test_pictures_in_memory_stay_as_they_are(folder: Path, tmp_path: Path) -> None:
    """Pillow draws a large JPEG at a fraction of its size once it is told to: not the caller's."""
    Image.open(folder / "bad.png").resize((3600, 2700)).save(tmp_path / "large.jpg")
    data = (tmp_path / "large.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 3])
    inspector = Inspector(references=Image.open(folder / "reference.png"))  # type: ignore[arg-type]
    with Image.open(tmp_path / "large.jpg") as image, Image.open(tmp_path / "half.jpg") as half:
        first = inspector.inspect(image)
        assert (image.size, image.mode) == ((3600, 2700), "RGB")
        again = inspector.inspect(image)
        assert (first.score, first.boxes) == (again.score, again.boxes)
        for box in first.boxes:
            assert box.x + box.width <= 3601
        stream = [folder / "good.png", half, folder / "bad.png", object(), np.zeros((20, 20)), data, io.BytesIO(data)]
        results = list(inspector.inspect_many(stream))  # type: ignore[arg-type]
    assert [type(result) for result in results] == [Verdict, Failure, Verdict, Failure, Failure, Verdict, Verdict]
    errors = [result.error for result in results if isinstance(result, Failure)]
    assert "half.jpg: the picture is damaged (" in errors[0]
    assert errors[1].startswith("object is not a picture; give a path")
    assert errors[2].endswith("an array of float64 has no fixed range; scale it to 0..255 as uint8")
    with Image.open(tmp_path / "large.jpg") as closed:
        pass
    with pytest.raises(ImageError, match=r"large\.jpg: the picture is damaged"):
        inspector.inspect(closed)


def test_arrays_are_judged_as_their_files(inspector: Inspector, folder: Path) -> None:
    path = folder / "bad.png"
    expected = inspector.inspect(path)
    for source in (np.asarray(Image.open(path)), path.read_bytes()):
        verdict = inspector.inspect(source)
        assert (verdict.answer, verdict.score, verdict.boxes) == (expected.answer, expected.score, expected.boxes)
        assert verdict.query == "picture"


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_depth_is_found_from_the_references(folder: Path, tmp_path: Path, bits: int, suffix: str) -> None:
    def save(name: str) -> Path:
        grey = np.asarray(Image.open(folder / name).convert("L")).astype(np.uint32)
        values = grey * ((1 << bits) - 1) // 255
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"{name}.{suffix}")
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / name)
        return tmp_path / f"{name}.{suffix}"

    names = ["reference.png", "good.png", "bad.png"]
    reference, *queries = [save(name) for name in names]
    deep = Inspector(references=[reference])
    shallow = Inspector(references=[tmp_path / names[0]])
    for query, name in zip(queries, names[1:], strict=True):
        assert deep.inspect(query).score == pytest.approx(shallow.inspect(tmp_path / name).score, abs=0.05)
    notes = [note for note in deep.notes() if "bits" in note]
    assert notes == ([] if bits == 16 else [f"references: values of {bits} bits were scaled to 8 bits"])


def test_notes_name_the_references_that_were_changed_and_those_given_twice(folder: Path, tmp_path: Path) -> None:
    holed = Image.open(folder / "good.png").convert("RGBA")
    holed.putpixel((0, 0), (0, 0, 0, 0))
    holed.save(tmp_path / "holed.png")
    (tmp_path / "copy.png").write_bytes((folder / "reference.png").read_bytes())
    references = [folder / "reference.png", tmp_path / "holed.png", tmp_path / "copy.png"]
    assert Inspector("always-no", references).notes() == (
        f"references: transparent parts are shown as white ({tmp_path}/holed.png)",
        f"references: given more than once: {folder}/reference.png = {tmp_path}/copy.png",
    )
    assert Inspector("always-no", [tmp_path / "holed.png"]).notes() == (
        "references: transparent parts are shown as white",
    )


def test_a_single_path_is_a_reference(folder: Path) -> None:
    assert Inspector(references=str(folder / "reference.png")).references[0].width == 384


def test_pictures_are_taken_from_any_iterable_and_one_is_not_taken_apart(inspector: Inspector, folder: Path) -> None:
    assert len(Inspector("always-no", folder.glob("*ood.png")).references) == 1
    assert len(Inspector("always-no", iter([folder / "good.png", folder / "bad.png"])).references) == 2
    path = folder / "good.png"
    array = np.asarray(Image.open(path))
    pictures = [str(path), path, path.read_bytes(), bytearray(path.read_bytes()), array, Image.open(path)]
    for one in (*pictures, io.BytesIO(path.read_bytes())):
        assert [type(verdict) for verdict in inspector.inspect_many(one)] == [Verdict], type(one)
    assert len(list(inspector.inspect_many(np.stack([array, array])))) == 2
    for wrong in (None, 3):
        with pytest.raises(InputError, match="is not a picture, nor a list of pictures"):
            Inspector("always-no", wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="is not a picture, nor a list of pictures"):
            list(inspector.inspect_many(wrong))  # type: ignore[arg-type]


def test_what_is_no_judge_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    for wrong, problem in (
        (None, "NoneType: not a judge: it has no name"),
        ([folder / "good.png"], "list: not a judge: it has no name"),  # references given first
        (Brightness, r"Brightness: a class, not a judge; give what Brightness\(\) returns"),
    ):
        with pytest.raises(InputError, match=problem):
            Inspector(wrong, [folder / "good.png"])  # type: ignore[arg-type]
        with pytest.raises(InputError, match=problem):
            lad_reasoner.evaluate(wrong, out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no config\.json in it; give the folder of a Hugging Face model"):
        Inspector(tmp_path, [folder / "good.png"])
    assert repr(Inspector(Brightness(), [folder / "good.png"])) == "Inspector(brightness, 1 reference)"


class Brightness:
    """As docs/howto/judge.md shows it."""

    name, prompt_version, batch_size, notes, parameters = "brightness", "brightness-1", 1, (), None

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        return [Judgement("no") for _ in pairs]


def test_a_type_checker_takes_what_the_documents_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    body = inspect.getsource(Brightness)
    (tmp_path / "mine.py").write_text(f"""
from collections.abc import Sequence
from pathlib import Path
from lad_reasoner import Inspector, Judgement, PicturePair, evaluate

{body}
Inspector(Brightness(), Path("good").glob("*.png"))
Inspector(Path("checkpoint"), "good.png").inspect_many(["query.png"])
evaluate(Path("checkpoint"), out="run")
""")
    monkeypatch.setenv("MYPYPATH", str(Path(lad_reasoner.__file__).parents[1]))
    # Without other packages, which take ten seconds.
    options = ["--strict", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    said, problems, status = api.run([*options, f"--cache-dir={tmp_path}", str(tmp_path / "mine.py")])
    assert (status, problems) == (0, ""), said


def test_errors(folder: Path) -> None:
    with pytest.raises(InputError, match="no references"):
        Inspector(references=[])
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        Inspector(references=[folder / "gone.png"])
    with pytest.raises(InputError, match=r"evidense: no such model; did you mean evidence\?"):
        load_model("evidense")
    with pytest.raises(LadError, match="nowhere"):
        load_model(str(folder / "nowhere"))


def test_all_references_that_cannot_be_used_are_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    blank = Image.new("RGB", (300, 200))
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        blank.save(tmp_path / name)
    (tmp_path / names[1]).write_bytes(b"")
    sources = [folder / "reference.png", *(tmp_path / name for name in names)]
    with pytest.raises(ImageError) as raised:
        Inspector("always-no", sources)
    message = str(raised.value)
    assert message.startswith(
        f"5 of 6 references cannot be used: {tmp_path / '0.png'}: the picture has one colour only"
    )
    assert f"; {tmp_path / '1.png'}: the file is empty, no picture; copy it again; {tmp_path / '2.png'}: " in message
    assert message.endswith("give a picture of the product and 2 more")
    with pytest.raises(ImageError, match=rf"^{tmp_path / '1.png'}: the file is empty"):  # one alone: its own words
        Inspector("always-no", sources[:1] + sources[2:3])


def test_deep_values_beside_shallow_references_are_told_once(folder: Path, tmp_path: Path) -> None:
    grey = np.asarray(Image.open(folder / "good.png").convert("L")).astype(np.uint16)
    Image.fromarray(grey * 16).save(tmp_path / "twelve.png")
    Image.open(folder / "good.png").save(tmp_path / "eight.png")
    field = TiffImagePlugin.ImageFileDirectory_v2()
    field[281] = 4095  # the largest value: the file says itself how deep it is
    Image.fromarray(grey * 16).save(tmp_path / "told.tif", tiffinfo=field)
    shallow = Inspector("always-no", [folder / "reference.png"])
    assert shallow.depth is None
    notes = [shallow.inspect(tmp_path / name).notes for name in ("twelve.png", "eight.png", "told.tif")]
    assert notes == [(MIXED,), (), ("values of 12 bits were scaled to 8 bits",)]
    deep = Inspector("always-no", [tmp_path / "twelve.png"])
    assert MIXED not in deep.inspect(tmp_path / "twelve.png").notes
    fewer = "at most 8 bits a value, beside references of 12: read as it is; give pictures of one depth"
    assert [fewer in deep.inspect(tmp_path / name).notes for name in ("twelve.png", "eight.png")] == [False, True]
    assert count_changes([(tmp_path / "eight.png", deep.depth)])[fewer] == 1
    assert count_changes([(tmp_path / "eight.png", 16)]) == {}  # the upper 8 of 16 bits are as bright
    queries = [(tmp_path / name, shallow.depth) for name in ("twelve.png", "eight.png", "told.tif")]
    assert count_changes(queries)[MIXED] == 1


def test_public_names() -> None:
    for name in lad_reasoner.__all__:
        assert getattr(lad_reasoner, name) is not None
    with pytest.raises(AttributeError):
        lad_reasoner.nothing  # noqa: B018
