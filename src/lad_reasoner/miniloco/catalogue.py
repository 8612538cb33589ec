"""All products by name. The evaluation products are after MVTec LOCO AD's five; training never shows them."""

from __future__ import annotations

from lad_reasoner.miniloco.products import (
    bolt_plate,
    breakfast_box,
    cable_bundle,
    circuit_board,
    gear_pair,
    juice_bottle,
    keyboard_row,
    pill_blister,
    pushpins,
    screw_bag,
    splicing_connectors,
    tea_assortment,
    tool_tray,
    tube_rack,
)
from lad_reasoner.miniloco.scene import Product

_EVALUATION = (breakfast_box, juice_bottle, pushpins, screw_bag, splicing_connectors)
_TRAINING = (
    bolt_plate,
    cable_bundle,
    circuit_board,
    gear_pair,
    keyboard_row,
    pill_blister,
    tea_assortment,
    tube_rack,
    tool_tray,
)

EVALUATION: tuple[str, ...] = tuple(module.NAME for module in _EVALUATION)
TRAINING: tuple[str, ...] = tuple(module.NAME for module in _TRAINING)
PRODUCTS: tuple[str, ...] = (*EVALUATION, *TRAINING)
CATALOGUE: dict[str, Product] = {module.NAME: module.PRODUCT for module in (*_EVALUATION, *_TRAINING)}
