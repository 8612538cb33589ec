"""The pair protocol as tasks of inspect_ai, which finds them by the entry point `lad_reasoner`.

    inspect eval lad_reasoner/miniloco --model openai/NAME
    inspect eval lad_reasoner/pairs -T benchmark=manifest -T root=pairs.csv --model openai/NAME

Each sample is a pair with the package's own prompt; the scorer parses the response as everything else here does, reads
the score from log-probabilities where the model gives them, and the metrics are those of `eval`. A log can be scored
again by `eval --model file:LOG`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState, generate

from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import Benchmark, draw_pairs, limit_pairs, open_benchmark
from lad_reasoner.evaluation.explanations import measure_explanations
from lad_reasoner.evaluation.metrics import compute_metrics
from lad_reasoner.evaluation.table_files import join_parts
from lad_reasoner.files.pictures import encode_picture
from lad_reasoner.files.whole import write_whole
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.completions import score_answer
from lad_reasoner.prompts import PROMPT_VERSION, build_prompt
from lad_reasoner.records import Pair, Prediction, Verdict
from lad_reasoner.runner import ANSWER_SCORES

logger = logging.getLogger(__name__)
MEASURED = ("balanced_accuracy", "mcc", "tpr", "tnr", "auroc")


@task(name="miniloco")
def miniloco_task(
    number: int = 100, references: int = 1, seed: int = 0, pictures: str = "runs/inspect-miniloco"
) -> Task:
    """MiniLOCO: `number` good and logical queries of all products; rendered into the folder `pictures`."""
    return _task(open_benchmark("miniloco"), number, references, seed, None, Path(pictures))


@task(name="pairs")
def pairs_task(
    root: str | None = None,
    benchmark: str = "folder",
    number: int | None = None,
    references: int | None = None,
    seed: int = 0,
    kinds: str | None = None,
    references_file: str | None = None,
) -> Task:
    """Any benchmark that `lad-reasoner eval` takes, with the same names of its options."""
    if root is None:
        raise InputError("-T root=PATH is missing: the folder or file of the benchmark")
    opened = open_benchmark(benchmark, root, references_file=references_file)
    wanted = [kind.strip() for kind in kinds.split(",")] if kinds else None
    return _task(opened, number, references, seed, wanted, None)


def _task(
    benchmark: Benchmark,
    number: int | None,
    references: int | None,
    seed: int,
    kinds: Sequence[str] | None,
    folder: Path | None,
) -> Task:
    drawn, notes = draw_pairs(benchmark, references=references, seed=seed, kinds=kinds)
    for note in (*benchmark.notes, *notes):
        logger.warning(note)
    chosen = drawn if number is None else limit_pairs(drawn, number)
    samples = [_sample(benchmark, pair, folder) for pair in chosen]
    config = GenerateConfig(temperature=0, logprobs=True, top_logprobs=20)
    return Task(dataset=MemoryDataset(samples, name=benchmark.name), solver=generate(), scorer=verdict(), config=config)


def _sample(benchmark: Benchmark, pair: Pair, folder: Path | None) -> Sample:
    names = (*pair.references, pair.query)
    facts = [benchmark.samples[name].facts for name in names]
    paths = []
    for index, name in enumerate(names):
        if folder is None:
            paths.append(benchmark.samples[name].image)
            continue
        path = folder / name
        picture, facts[index] = benchmark.read(name)
        drawn = encode_picture(picture.image)
        if not path.is_file() or path.read_bytes() != drawn:  # another version may have drawn the one that is there
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, drawn)
        paths.append(str(path.absolute()))
    content = [*(ContentImage(image=path) for path in paths), ContentText(text=build_prompt(len(pair.references)))]
    known = [each for each in facts if each is not None]
    return Sample(
        id=pair.query,
        input=[ChatMessageUser(content=content)],
        target=pair.label or "",
        metadata=pair.model_dump(mode="json") | {"facts": known if len(known) == len(names) else []},
    )


@metric
def lad_metrics() -> Metric:
    """The metrics of `lad-reasoner eval`: a dict literal of name -> value, without those that are not defined."""

    def measure(scores: list[SampleScore]) -> Value:
        if not scores:  # the run ended before its first sample
            return {}
        lines = [Prediction.model_validate(each.score.metadata) for each in scores]
        pooled = compute_metrics(lines, resamples=0).pooled
        values = {name: getattr(pooled, name) for name in MEASURED}
        measured: dict[str, float] = {
            name: each.value for name, each in values.items() if each and each.value is not None
        }
        measured["invalid"] = sum(line.verdict.answer == "invalid" for line in lines) / len(lines)
        explanations = measure_explanations(lines, resamples=0)
        for name, claims in ((explanations and explanations.faithfulness) or {}).items():
            if claims.precision.value is not None:
                measured[f"true_claims_{name}"] = claims.precision.value
        return measured

    return measure


def _response(output: Any) -> str:
    """What the model wrote; inspect_ai takes `<think>…</think>` out of the text of most providers."""
    content = output.message.content if output.choices else ""
    return content if isinstance(content, str) else join_parts([part.model_dump() for part in content])


@scorer(metrics=[lad_metrics()])
def verdict() -> Scorer:
    """Parses the response; correct if the answer equals the label, an invalid answer never is."""

    async def score(state: TaskState, target: Target) -> Score:
        response = _response(state.output)
        logprobs: Any = state.output.choices[0].logprobs if state.output.choices else None
        judgement = Judgement.of(response, score_answer(logprobs.content) if logprobs else None)
        pair = Pair.model_validate(state.metadata)
        seconds = state.output.time or 0.0
        made = Verdict(
            query=pair.query,
            references=pair.references,
            answer=judgement.answer,
            anomalous=judgement.answer == "yes",
            score=ANSWER_SCORES[judgement.answer] if judgement.score is None else judgement.score,
            reasoning=judgement.reasoning,
            response=response,
            model=str(state.model),
            prompt_version=PROMPT_VERSION,
            seconds=seconds,
        )
        line = Prediction(
            pair=pair, verdict=made, scored=judgement.score is not None, facts=tuple(state.metadata.get("facts") or ())
        )
        is_right = judgement.answer == target.text
        return Score(
            value="C" if is_right else "I",
            answer=judgement.answer,
            explanation=judgement.reasoning,
            metadata=line.model_dump(mode="json"),
        )

    return score
