"""All products by name. The evaluation products are after MVTec LOCO AD's five; training never shows them."""

from __future__ import annotations

from lad_reasoner.miniloco import bolt_plate, circuit_board
from lad_reasoner.miniloco.scene import Product

EVALUATION: tuple[str, ...] = ()
TRAINING: tuple[str, ...] = ("bolt_plate", "circuit_board")
CATALOGUE: dict[str, Product] = {
    product.name: product for product in (bolt_plate.PRODUCT, circuit_board.PRODUCT)
}
PRODUCTS: tuple[str, ...] = (*EVALUATION, *TRAINING)
