"""The table and the plot of results on documents, from made-up results."""

import pytest

from configs import documents_arms
from dsh_jax.errors import UserError
from tools import documents_table as table


def result(codes, num_bits, precision, score, off=(), **changes):
    """What `eval.py --result` writes, as far as the table reads it."""
    overrides = [f"--config.improvements.{name}=False" for name in off]
    return {
        "dataset": "reuters21578", "protocol": "2/3/3", "split_checksum": "c", "rules": {"a": "b"},
        "codes": codes, "num_bits": num_bits, "precision_at_100": precision, "map": score,
        "run": {"overrides": ["--config.seed=0", *overrides]} if codes == "shttm_neural" else {},
        "seed": 0,
    } | changes  # fmt: skip


ALL = table.IMPROVEMENTS
CONTENTS = [
    result("itq", 8, 0.1, 0.2),
    result("shttm_neural", 32, 0.5, 0.6),
    result("shttm_neural", 32, 0.3, 0.4, off=ALL),
    result("shttm_neural", 32, 0.35, 0.45, off=ALL[1:]),
    result("shttm_rotated", 8, 0.7, 0.8),
    result("shttm_rotated", 32, 0.75, 0.85),
    result("shttm", 32, 0.4, 0.5, dataset="20newsgroups", split_checksum="d"),
]


def test_a_row_for_each_method_and_variant():
    text = table.render(CONTENTS)
    first, second = text.split("### ")[1:]
    assert first.startswith("Reuters-21578 (ModApte), 2/3/3")
    assert second.startswith("20 Newsgroups")
    rows = [line for line in first.splitlines() if line.startswith("| ")]
    assert rows == [
        "| method | 8 bits | 32 bits |",
        "| --- | --- | --- |",
        "| neural SHTTM: all improvements |  | 0.500 (0.600) |",
        "| neural SHTTM: nonlinear alone |  | 0.350 (0.450) |",
        "| neural SHTTM: no improvement |  | 0.300 (0.400) |",
        "| SHTTM, rotated | 0.700 (0.800) | 0.750 (0.850) |",
        "| ITQ on tf-idf | 0.100 (0.200) |  |",
    ]


def test_two_improvements_are_both_named():
    both = result("shttm_neural", 8, 0, 0, off=ALL[2:])
    assert table.row_name(both) == "neural SHTTM: nonlinear and learned uncertainty alone"


def test_learned_codes_in_the_database_have_a_row_of_their_own():
    learned = result("shttm", 32, 0, 0, dataset="20newsgroups", split_checksum="d",
                     database_codes="learned")  # fmt: skip
    assert table.row_name(learned) == "SHTTM, published, learned codes in the database"
    table.check([*CONTENTS, learned])


@pytest.mark.parametrize("field", ["split_checksum", "rules", "protocol"])
def test_what_was_not_measured_alike_is_refused(field):
    table.check(CONTENTS)
    with pytest.raises(UserError, match=f"reuters21578 .* differ in their {field}"):
        table.check([*CONTENTS, result("lsh", 8, 0, 0, **{field: "other"})])


def test_the_same_result_twice_is_refused():
    with pytest.raises(UserError, match="two results of ITQ on tf-idf at 8 bits and seed 0"):
        table.check([*CONTENTS, result("itq", 8, 0.9, 0.9)])


def test_several_draws_are_averaged():
    # 0.2 and 0.4: mean 0.3, standard deviation sqrt(2 * 0.1^2) = 0.141.
    draws = [
        result("itq", 8, 0.2 + 0.2 * k, 0.5, seed=k, split_checksum=f"c{k}", num_validation=7,
               standard_error={"map": 0.01 + 0.01 * k})
        for k in (0, 1)
    ]  # fmt: skip
    table.check(draws)
    text = table.render(draws)
    assert "| ITQ on tf-idf | 0.300 ± 0.141 (0.500 ± 0.000) |" in text
    assert "standard deviation over 2 draws; 7 more tagged documents for validation; the " in text
    assert "over the queries is at most 0.020:" in text and "split" not in text
    shared = [row | {"split_checksum": "c"} for row in draws]
    assert "over 2 draws (one split);" in table.render(shared)
    with pytest.raises(UserError, match="differ in their split_checksum"):
        table.check([*draws, result("lsh", 8, 0.1, 0.1, split_checksum="other")])


def arm(name, seed, precision, score, num_bits=32):
    """A result of an arm, with its standard errors."""
    run = {"command": f"python train.py --config configs/documents_arms.py:reuters-{name}"}
    errors = {"precision_at_100": 0.01 + 0.01 * seed, "map": 0.02}
    return result("shttm_neural", num_bits, precision, score, run=run | {"overrides": []},
                  seed=seed, split_checksum=f"c{seed}", standard_error=errors)  # fmt: skip


def test_arms_have_a_table_of_their_own():
    arms = [arm("all", 0, 0.8, 0.7), arm("all", 1, 0.9, 0.7), arm("linear", 0, 0.5, 0.4)]
    plain = [result("itq", 32, 0.1, 0.2, split_checksum="c0")]
    table.check([*arms, *plain])
    text = table.render([*arms, *plain])
    assert text.count("### ") == 1 and "| ITQ on tf-idf | 0.100 (0.200) |" in text
    rows = [line for line in text.splitlines() if line.startswith("| neural")]
    assert rows == [
        "| neural SHTTM, no improvement | 32 | 1 | 0.500 | 0.010 | 0.400 | 0.020 |",
        "| neural + all improvements | 32 | 2 | 0.850 ± 0.071 | 0.015 | 0.700 ± 0.000 | 0.020 |",
    ]
    assert "Each arm tuned alike, ± the standard deviation over 2 draws" in text
    assert "| method | 32 bits |" not in table.render(arms)
    with pytest.raises(UserError, match="two results of neural . all improvements at 32 bits"):
        table.check([*arms, arms[0]])
    # They are no lines of the plot, though they have the seeds of its points.
    assert not table.plot([*arms, arm("all", 2, 0.8, 0.7, num_bits=8), *plain]).axes[0].lines


def test_every_arm_has_a_name():
    assert list(table.ARMS) == list(dict.fromkeys(table.ARMS))
    assert set(table.ARMS) == set(documents_arms.ARMS)


def test_the_plot_has_a_line_for_what_was_measured_at_several_lengths(tmp_path):
    figure = table.plot(CONTENTS)
    lines = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    assert lines == [["SHTTM, rotated"], []]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.7, 0.75]
    table.write_plot(CONTENTS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
