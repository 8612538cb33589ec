"""The products of the benchmark. Each module holds one, always in this order:

NAME, RULE         the product's name in data sets; the rule that good pictures obey, in words
good(rng)          a scene that keeps the rule
check(scene)       the breaches of the rule, in words: told from the scene alone, without knowing how it was broken
_missing_bolt, …   break a good scene, each function named after its defect, and say in words what is wrong
spots(scene)       patches on which a structural flaw may sit
sights(scene)      in some products: what can be seen but is no item, such as an empty compartment
paint(canvas, …)   ground, product, parts
PRODUCT            all of these; the order of the defects gives them their grey values
"""
