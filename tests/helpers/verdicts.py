"""A verdict with fields of your own."""

from lad_reasoner.records import Box, Verdict


def verdict(**changes: object) -> Verdict:
    values: dict[str, object] = {
        "query": "q.png",
        "references": ("r.png",),
        "answer": "yes",
        "anomalous": True,
        "score": 0.75,
        "reasoning": "a hole",
        "response": "<think>a hole</think><answer>yes</answer>",
        "boxes": (Box(x=1, y=2, width=3, height=4, strength=1.5),),
        "model": "evidence",
        "prompt_version": "evidence-1",
        "seconds": 0.1,
    }
    return Verdict.model_validate({**values, **changes})
