"""Files that a stranger wrote, or that were damaged, for Hypothesis."""

from hypothesis import strategies as st

ODD = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\x1b]0;x\x07",
    b"nan",
    b"-1e999",
    b"[" * 2000,
    b"\xed\xa0\x80",
    b"<!--",
    b'"',
    b"\r\n",
)
# Any value of JSON, with the keys that harnesses and our exports use
NAMES = ("query", "references", "label", "category", "kind", "defect", "image", "score", "answer", "text", "question")
NAMES += (
    "samples",
    "eval",
    "metadata",
    "output",
    "choices",
    "message",
    "content",
    "completion",
    "filtered_resps",
    "doc",
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["good", ";", "a.png"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with one to three pieces replaced by something odd."""
    piece = st.tuples(st.integers(0, len(content)), st.integers(0, 12), st.sampled_from(ODD) | st.binary(max_size=4))

    def apply(pieces: list[tuple[int, int, bytes]]) -> bytes:
        broken = content
        for start, length, new in pieces:
            broken = broken[:start] + new + broken[start + length :]
        return broken

    return st.lists(piece, min_size=1, max_size=3).map(apply)
