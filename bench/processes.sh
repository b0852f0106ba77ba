#!/usr/bin/env bash
# Several processes on two CPU cores: target tokens/s against one process, and a whole training.
#
#   bench/processes.sh pair WORK    one process with two threads against two with one: experts divided, or data parallel
#   bench/processes.sh weak WORK    1, 2 and 4 processes, each with 1,000 or 4,000 tokens of the batch
#   bench/processes.sh demo WORK    the demo trained by two processes, its time and BLEU
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

verb=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)

together() {
    local num_processes=$1
    shift
    OMP_NUM_THREADS=1 torchrun --nproc-per-node "$num_processes" -m mtmoe "$@"
}

pair() {
    local round
    local measured=(bench train demo --data "$work/data" --seconds 20)
    local large=(--set training.batch_tokens=4000 --set model.moe.num_experts=32)
    for round in 1 2; do
        heading "round $round, 1,000 tokens: one process; two, experts divided; two, data parallel"
        OMP_NUM_THREADS=2 mtmoe "${measured[@]}"
        together 2 "${measured[@]}"
        together 2 "${measured[@]}" --set training.distributed.expert_processes=1
        heading "round $round, 4,000 tokens, 32 experts: the same three"
        OMP_NUM_THREADS=2 mtmoe "${measured[@]}" "${large[@]}"
        together 2 "${measured[@]}" "${large[@]}"
        together 2 "${measured[@]}" "${large[@]}" --set training.distributed.expert_processes=1
    done
}

weak() {
    local tokens num_processes
    for tokens in 1000 4000; do
        for num_processes in 1 2 4; do
            heading "$num_processes processes, $tokens tokens each"
            together "$num_processes" bench train demo --data "$work/data" --seconds 12 \
                --set "training.batch_tokens=$((tokens * num_processes))" --set model.moe.num_experts=32
        done
    done
}

demo() {
    local began=$SECONDS
    together 2 train demo "$work/run" --data "$work/data"
    echo "training by the clock: $((SECONDS - began)) s"
    mtmoe bleu "$work/run"
}

case $verb in
pair | weak | demo)
    print_circumstances
    mtmoe preprocess demo "$work/data"
    "$verb"
    ;;
*)
    wrong_usage
    ;;
esac
