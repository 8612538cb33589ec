"""The public names of `lad_reasoner`."""

import lad_reasoner


def test_every_public_name_is_there_and_listed() -> None:
    for name in lad_reasoner.__all__:
        assert getattr(lad_reasoner, name) is not None, name
    assert set(lad_reasoner.__all__) <= set(dir(lad_reasoner))
    assert not {"os", "Any", "TYPE_CHECKING"} & set(dir(lad_reasoner))
    assert {"Box", "Inspector", "Judge", "Judgement", "PicturePair", "Verdict", "compare"} <= set(dir(lad_reasoner))
