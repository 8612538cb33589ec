#!/bin/sh
# The MiniLOCO table: eval of each system, then compare. What is there already is not asked again.
#
#     sh benchmarks/miniloco.sh 1000 runs/miniloco-table      all pairs: 100 good and 100 logical of each class
#     sh benchmarks/miniloco.sh 50 runs/miniloco-small        5 of each
#
# Needs `lad-reasoner` on the path. always-yes and always-no stand in the table by themselves.
set -eu
pairs=${1:-1000}
runs=${2:-runs/miniloco-table}
judge() { # NAME, then the options that say whom to ask
    name=$1
    shift
    lad-reasoner eval --benchmark miniloco --limit "$pairs" --out "$runs/$name" "$@" >/dev/null
}
judge micro --model micro
judge micro-base --model micro-base
judge evidence --model evidence
judge pixel-difference --model pixel-difference
judge random --model random
lad-reasoner compare "$runs/micro" "$runs/micro-base" "$runs/evidence" "$runs/pixel-difference" "$runs/random" \
    --out "$runs/comparison"
