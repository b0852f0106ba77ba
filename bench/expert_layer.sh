#!/usr/bin/env bash
# The expert layer on two CPU cores: its time as a multiple of a dense layer of equal operations, seven runs.
#
#   bench/expert_layer.sh [SECONDS]    SECONDS for each layer (default 3)
. "$(dirname "$0")/common.sh"
check_usage 0 "$@"

seconds=${1:-3}
print_circumstances
for run in 1 2 3 4 5 6; do
    heading "run $run"
    mtmoe bench moe --experts 32,256 --threads 2 --seconds "$seconds" --device cpu
done
heading "run 7, all sizes"
mtmoe bench moe --threads 2 --seconds "$seconds" --device cpu
