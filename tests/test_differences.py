"""Which arms are compared, on which draws, and what the table says of it."""

from pathlib import Path

import numpy as np
import pytest

from dsh_jax.errors import UserError
from tools import differences, documents_table
from tools.differences import difference, render
from tools.intervals import bootstrap, t_interval
from tools.result_files import Result

NUM_QUERIES = 20


def result(codes="synthetic", draw=0, score=0.5, queries=None, config="a", overrides=(), **changes):
    """A result with the average precision of each query, unless `queries` is False."""
    file, colon, argument = config.partition(".py:")
    command = f"python train.py --config configs/{file}.py" + colon.removeprefix(".py") + argument
    content = {
        "dataset": "digits", "protocol": "20/200/1697", "split_checksum": f"c{draw}",
        "codes": codes, "num_bits": 16, "num_labeled": 200, "seed": draw, "map": score,
        "run": {} if codes == "itq" else {"command": command, "overrides": list(overrides)},
    } | changes  # fmt: skip
    if queries is None:
        queries = score + 0.1 * np.random.default_rng(draw).standard_normal(NUM_QUERIES)
    if queries is not False:
        content["query_average_precision"] = list(queries)
    return Result(Path(f"results/{codes}_{draw}.json"), content)


def arm(codes, scores, **options):
    return [result(codes, draw, score, **options) for draw, score in enumerate(scores)]


def table_rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_a_difference_is_of_the_common_draws_alone():
    one, other = arm("synthetic", [0.5, 0.6, 0.8, 0.9]), arm("real", [0.4, 0.4, 0.5])
    other.append(result("real", 3, 0.1, split_checksum="of another split"))
    found = difference(reversed(one), other)
    assert found.draws == [(0, "c0"), (1, "c1"), (2, "c2")]
    # Differences 0.1, 0.2 and 0.3.
    assert found.mean == pytest.approx(0.2)
    assert found.over_draws == t_interval([0.5 - 0.4, 0.6 - 0.4, 0.8 - 0.5])
    of_queries = [
        np.subtract(*(r.content["query_average_precision"] for r in pair))
        for pair in zip(one, other[:3], strict=False)
    ]
    assert found.resampled == bootstrap(of_queries)
    assert (difference(other, one).mean, difference(other, one).draws) == (-found.mean, found.draws)


def test_one_draw_has_a_bootstrap_over_queries_alone():
    values = np.linspace(0, 1, NUM_QUERIES)
    found = difference([result(queries=values)], [result("real", queries=values**2)])
    assert found.over_draws is None
    assert found.resampled == bootstrap([values - values**2])


@pytest.mark.parametrize(
    "shared", [{"split_checksum": "c"}, {"query_checksum": "q"}], ids=["split", "queries"]
)
def test_draws_with_the_same_queries_are_resampled_together(shared):
    one, other = arm("synthetic", [0.5, 0.6, 0.7], **shared), arm("real", [0.4] * 3, **shared)
    of_queries = [
        np.subtract(*(r.content["query_average_precision"] for r in pair))
        for pair in zip(one, other, strict=True)
    ]
    assert difference(one, other).resampled == bootstrap(of_queries, same_queries=True)


def test_results_without_average_precisions_have_a_gap():
    old = [arm(codes, [0.5, 0.6, 0.7], queries=False) for codes in ("synthetic", "real")]
    found = difference(*old)
    assert found.resampled is None and found.over_draws is not None
    assert difference(arm("synthetic", [0.5, 0.6, 0.7]), old[1]).resampled is None
    assert difference(old[0][:2], old[1][:2]) is None
    assert difference(old[0][:1], old[1][1:]) is None


def test_different_numbers_of_queries_are_refused():
    with pytest.raises(UserError, match="synthetic_0.json and .*real_0.json .* 20 and 19 queries"):
        difference([result()], [result("real", queries=[0.5] * 19)])


def test_the_arms_of_a_comparison():
    margin = {"overrides": ["--config.margin=2", "--config.seed=0"]}
    other = {"num_bits": 32}
    results = [
        result(), result(**margin), result("real"), result("real", **margin), result("itq"),
        result("cnnh", config="c"), result("lsh"), result(**other), result("itq", **other),
        result(num_labeled=50), result("real", num_labeled=100),
    ]  # fmt: skip
    named = [
        (a[0].content["num_bits"], differences.name(a[0]), differences.name(b[0]))
        for a, b in differences.pairs(results)
    ]
    assert named == [
        (16, "DSH-GANs", "DSH-GANs, margin=2"),
        (16, "DSH-GANs", "network alone, real triplets"),
        (16, "DSH-GANs", "network alone, real triplets, margin=2"),
        (16, "DSH-GANs", "CNNH"),
        (16, "DSH-GANs", "ITQ"),
        (32, "DSH-GANs", "ITQ"),
    ]


def test_a_config_is_compared_with_its_own_control():
    results = [
        result(codes, config=config) for codes in ("synthetic", "real") for config in ("a", "b")
    ]
    found = [(a[0].config_file, b[0].config_file) for a, b in differences.pairs(results)]
    assert found == [("a", "a"), ("b", "b")]


def test_the_table():
    ours, control = arm("synthetic", [0.5, 0.6, 0.8]), arm("real", [0.4, 0.4, 0.5])
    text = render([*ours, *control, result("itq", 0, 0.1)])
    header, _, over_draws, one = table_rows(text)
    assert header == list(differences.HEADER)
    # 0.2 -+ 4.303 * 0.1 / sqrt(3).
    assert over_draws[:8] == ["DSH-GANs", "network alone, real triplets", "16", "200", "0, 1, 2",
                              "+0.200", "-0.048 to +0.448", "0.074"]  # fmt: skip
    # The queries of a draw differ by a constant: only the draws are resampled.
    assert over_draws[8:] == ["+0.100 to +0.300", "< 0.001"]
    assert one[4:8] == ["0", "+0.400", "-", "-"] and one[9] == "< 0.001"
    assert text.endswith("With one draw the bootstrap is over the queries alone.")
    assert "one draw" not in render([*ours, *control])


def test_a_table_without_what_differences_need_says_so():
    assert render([result("itq"), result("lsh")]) == ""
    assert render([result(queries=False), result("real", queries=False)]) == differences.NONE


def test_arms_of_documents_are_compared_by_their_names():
    text = {"dataset": "reuters21578", "protocol": "2/3/3", "num_bits": 32}
    results = [
        result("shttm_neural" if name in ("all", "linear") else "shttm",
               config=f"documents_arms.py:reuters-{name}", **text)
        for name in ("published", "linear", "all", "rotated", "exposure", "vdsh_supervised")
    ]  # fmt: skip
    found = [(documents_table.arm_of(a[0].content), documents_table.arm_of(b[0].content))
             for a, b in differences.pairs([*results, result("itq", **text)])]  # fmt: skip
    assert found == [("all", "rotated"), ("all", "linear"), ("all", "vdsh_supervised"),
                     ("rotated", "published"), ("rotated", "exposure"),
                     ("rotated", "vdsh_supervised")]  # fmt: skip


def test_documents_are_compared_by_their_own_names():
    text = {"dataset": "reuters21578", "protocol": "2/3/3"}
    off = ["--config.improvements.nonlinear=False"]
    rows = table_rows(render([
        result("shttm_neural", config="n", **text), result("shttm", config="p", **text),
        result("shttm_neural", config="n", overrides=off, **text),
        result("shttm_rotated", config="r", **text), result("vdsh_supervised", config="v", **text),
        result("vdsh", config="u", **text),
    ]))  # fmt: skip
    assert [row[:2] for row in rows[2:]] == [
        ["neural SHTTM: all improvements",
         "neural SHTTM: learned uncertainty and correlated tags and joint topics alone"],
        ["neural SHTTM: all improvements", "SHTTM, rotated"],
        ["neural SHTTM: all improvements", "SHTTM, published"],
        ["neural SHTTM: all improvements", "VDSH-S"],
        ["SHTTM, rotated", "SHTTM, published"],
        ["SHTTM, rotated", "VDSH-S"],
        ["VDSH-S", "VDSH"],
    ]  # fmt: skip


def test_arms_of_images_are_compared_with_those_that_differ_in_one_thing():
    def arm(name, codes, overrides=()):
        return result(codes, config=f"digits_arms.py:{name}", overrides=overrides)

    arms = [arm("gan", "synthetic"), arm("gan_real", "gan_real"), arm("network", "real"),
            arm("gan", "synthetic", ["--config.loss.unlabeled=zero"]),
            arm("gan+consistency", "synthetic"), arm("network+consistency", "real")]  # fmt: skip
    names = [(a[0].arm, b[0].arm) for a, b in differences.pairs(arms)]
    assert names == [
        ("gan", "gan_real"), ("gan", "network"), ("gan", "gan, loss.unlabeled=zero"),
        ("gan+consistency", "network+consistency"), ("gan+consistency", "gan"),
    ]  # fmt: skip
    assert differences.name(arms[4]) == "DSH-GANs with consistency"
    assert differences.name(arms[3]) == "DSH-GANs, loss.unlabeled=zero"
