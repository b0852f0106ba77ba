"""Shards: each line is in one of them."""

from __future__ import annotations

from pathlib import Path

from mtmoe.synthesis.shards import Shard, shards_of


def test_every_line_is_in_one_shard_in_order_and_shards_are_alike() -> None:
    for num_lines in (0, 1, 5, 1000, 1001):
        for total in (1, 2, 3, 7):
            lines = [shard.lines(num_lines) for shard in shards_of(total)]
            assert [number for stretch in lines for number in stretch] == list(range(num_lines))
            assert max(map(len, lines)) - min(map(len, lines)) <= 1


def test_parts_are_beside_the_output_and_sort_by_their_number() -> None:
    output = Path("out/bt.tsv")
    assert Shard().part_of(output) == output
    assert Shard(3, 12).part_of(output) == Path("out/bt.tsv.03-of-12")
    names = [shard.part_of(output).name for shard in shards_of(12)]
    assert names == sorted(names)
