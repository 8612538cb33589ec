"""Every claim of the evidence judge's texts is true, on a few small pictures of each change."""

import pytest
import true_claims

from lad_reasoner.judges.evidence import views
from lad_reasoner.judges.evidence.backbone import Backbone

RESPECTS = {
    "kind",
    "place",
    "colour",
    "size",
    "number",
    "light",
    "shift",
    "turn",
    "whole picture",
    "singular",
    "length",
}


@pytest.mark.slow
def test_forty_pictures(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "WORKING_AREA", 192 * 192)  # a quarter of the patches, for speed
    monkeypatch.setattr(true_claims, "SIDE", 160)
    claims = true_claims.check_product("circuit_board", 40, backbone)
    assert [claim for claim in claims if not claim.true] == []
    assert {claim.respect for claim in claims} >= RESPECTS
    assert len(claims) > 40 * 15
    assert true_claims.summarise(claims).endswith(
        f"all            {len(claims)} of {len(claims)} claims true (100.0 %)"
    )
