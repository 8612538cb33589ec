"""From signed distances to shaded things: shapes, canvas, surfaces, and the parts that products share."""
