"""The tables of results: grouped, sorted, averaged by hand-checked numbers, and never mixed."""

import json
from functools import partial

import pytest

from tools import results_table, speed_table, tables
from tools.cells import duration
from tools.results_table import main

BEGIN, END = tables.markers("results")
CPU = {"platform": "cpu", "device": "cpu", "num_devices": 1, "cpu": "Fast | CPU", "cpu_cores": 2}
GPU = {"platform": "gpu", "device": "H200", "num_devices": 4, "cpu": "Fast CPU", "cpu_cores": 64}
RULES = {"ties": "expected"}


def result(codes="synthetic", seed=0, overrides=(), hardware=CPU, config="a.py", **fields):
    """What eval.py writes, as far as a table needs it."""
    content = {
        "method": "dsh_gan", "dataset": "digits", "dataset_version": "1",
        "protocol": "100/200/1697", "split_checksum": "c0", "rules": RULES, "codes": codes,
        "num_bits": 16, "num_labeled": 200, "seed": seed, "map": 0.5, "precision_at_100": 0.6,
        "run": {},
    }  # fmt: skip
    if codes in ("synthetic", "real", "shttm_neural", "nash_supervised"):
        command = f"python train.py --config configs/{config} --workdir w"
        run = {"command": command, "overrides": list(overrides), "hardware": hardware}
        content |= {"train_seconds": 65.4, "checkpoint": "best", "run": run}
    return content | fields


@pytest.fixture
def place(tmp_path):
    """Writes results and pages without tables; returns a call of main and docs/results.md."""
    page = tmp_path / "docs/results.md"
    for folder in ("docs", "results/speed", "results/documents", "configs"):
        (tmp_path / folder).mkdir(parents=True)
    page.write_text(f"# Title\n\n{BEGIN}\n{END}\n\nThe end.\n")
    (tmp_path / "README.md").write_text("\n".join(tables.markers("headlines")))
    (tmp_path / "docs/speed.md").write_text("\n".join(tables.markers("speed")))

    def call(*arguments, **contents):
        for name, content in contents.items():
            (tmp_path / f"results/{name}.json").write_text(json.dumps(content))
        return main([*arguments, "--root", str(tmp_path)])

    return call, page


def cells(page):
    """Each table row's cells, the two heading rows left out, by table title."""
    tables: dict[str, list[list[str]]] = {}
    title = ""
    for line in page.read_text().splitlines():
        if line.startswith("### "):
            title = line
            tables[title] = []
        elif not line:
            title = title if not tables.get(title) else "below"  # paired differences
        elif line.startswith("| ") and title != "below":
            protected = line.replace("\\|", "\0").strip("| ").split(" | ")
            tables[title].append([cell.replace("\0", "|") for cell in protected])
    return {title: rows[2:] for title, rows in tables.items()}


def test_one_row_says_everything(place):
    call, page = place
    assert 0 == call(run=result(overrides=["--config.data.data_dir=d", "--config.ema_decay=0.9"]))
    assert cells(page) == {
        "### Handwritten digits, 100/200/1697 (queries / labeled / database)": [
            ["DSH-GANs", "a, ema_decay=0.9", "16", "200 + ?", "0.500", "-", "0.600", "0", "65 s",
             "Fast | CPU, 2 cores", "[run](../results/run.json)"]
        ]
    }  # fmt: skip
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n\n###")
    assert text.endswith(f" |\n\n{END}\n\nThe end.\n")


def test_an_encoder_file_has_the_row_of_its_config_and_a_gap_for_its_training(place):
    call, page = place
    command = "python eval.py --encoder e --config configs/a.py --baseline features_itq"
    measured_by = {"command": command, "overrides": ["--config.data.data_dir=d"]}
    of_file = result(codes="features_itq", encoder="f0", measured_by=measured_by)
    assert call(run=of_file) == 0
    ((row,),) = cells(page).values()
    assert row[:3] == ["ITQ on its features", "a", "16"] and row[8:10] == ["-", "-"]


def test_seeds_are_averaged(place):
    call, page = place
    # 0.2, 0.3, 0.7: mean 0.4, deviations -0.2, -0.1, 0.3: variance (0.04 + 0.01 + 0.09) / 2 = 0.07.
    runs = {
        f"s{seed}": result(
            seed=seed, overrides=[f"--config.seed={seed}"], map=value, train_seconds=3600 * seconds
        )
        for seed, value, seconds in ((0, 0.2, 1), (1, 0.3, 2), (2, 0.7, 3))
    }
    assert call(**runs) == 0
    ((row,),) = cells(page).values()
    assert row[4:9] == ["0.400 ± 0.265 (n = 3)", "-", "0.600 ± 0.000 (n = 3)",
                        "0, 1, 2 (one split)", "2 h 0 min"]  # fmt: skip
    assert row[10] == "[s0](../results/s0.json) [s1](../results/s1.json) [s2](../results/s2.json)"


def test_labels_of_validation_and_errors_over_queries(place):
    call, page = place
    runs = {
        f"s{seed}": result(seed=seed, split_checksum=f"c{seed}", num_validation=100,
                           standard_error={"map": error})
        for seed, error in ((0, 0.02), (1, 0.03))
    }  # fmt: skip
    assert call(**runs) == 0
    ((row,),) = cells(page).values()
    assert (row[3], row[5], row[7]) == ("200 + 100", "0.025", "0, 1")
    assert call(s2=result(seed=2, split_checksum="c2", num_validation=100)) == 0
    ((row,),) = cells(page).values()
    assert row[5] == "-"  # one of the draws does not say


def test_a_config_with_an_argument_and_one_that_was_renamed(place):
    call, readme = place
    names = ("cnnh_cifar10_48bit.py", "cnnh_cifar10.py:48", "cnnh_cifar10.py:12")
    runs = {f"s{i}": result(seed=i, config=name) for i, name in enumerate(names)}
    assert call(**runs) == 0
    ((one, both),) = cells(readme).values()
    assert (one[1], one[7]) == ("cnnh_cifar10:12", "2")
    assert (both[1], both[7]) == ("cnnh_cifar10:48", "0, 1 (one split)")


def test_the_sentence_on_synthetic_images(place):
    call, page = place
    # Per draw, the game minus the network alone: 0.1, 0.2, 0.3, so that the mean is 0.2, its
    # standard error 0.1 / sqrt(3), and t of two degrees of freedom 4.303.
    scores = {"gan": (0.5, 0.6, 0.7), "network": (0.4, 0.4, 0.4),
              "gan+consistency": (0.5, 0.5, 0.5), "network+consistency": (0.5, 0.6, 0.7)}
    runs = {
        f"{name}{seed}": result(
            "synthetic" if name.startswith("gan") else "real", seed, split_checksum=f"c{seed}",
            config=f"digits_arms.py:{name}", num_labeled=50, map=score,
        )
        for name, of_arm in scores.items() for seed, score in enumerate(of_arm)
    }  # fmt: skip
    readme = page.parents[1] / "README.md"
    assert call(**{name: run for name, run in runs.items() if "consistency" not in name}) == 0
    assert "synthetic images" not in readme.read_text()  # half of it is not measured
    assert call(**runs) == 0
    assert "+0.200 without consistency (95 %: -0.048 to +0.448)" in readme.read_text()
    assert "-0.100 with it (95 %: -0.348 to +0.148)" in readme.read_text()


def test_rows_are_sorted_by_labels_and_then_method(place):
    call, page = place
    few = {"num_labeled": 50, "split_checksum": "c1"}
    assert 0 == call(
        a=result("lsh"), b=result("itq"), c=result("real"), d=result(), e=result("itq", **few),
        f=result(config="b.py"), g=result(num_bits=32), h=result(checkpoint="latest"),
        i=result(overrides=["--config.loss.unlabeled=mask"]), j=result("real", **few),
    )  # fmt: skip
    (rows,) = cells(page).values()
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("network alone, real triplets", "a", "16", "50 + ?"),
        ("ITQ", "raw pixels", "16", "50 + ?"),
        ("DSH-GANs", "a", "16", "200 + ?"),
        ("DSH-GANs", "a", "32", "200 + ?"),
        ("DSH-GANs", "a, latest checkpoint", "16", "200 + ?"),
        ("DSH-GANs", "a, loss.unlabeled=mask", "16", "200 + ?"),
        ("DSH-GANs", "b", "16", "200 + ?"),
        ("network alone, real triplets", "a", "16", "200 + ?"),
        ("ITQ", "raw pixels", "16", "200 + ?"),
        ("LSH", "raw pixels", "16", "200 + ?"),
    ]
    assert all("±" not in cell for row in rows for cell in row)
    assert rows[-1][8:10] == ["-", "-"]  # a baseline is not trained


def test_the_classifiers_of_two_controls_have_rows_of_their_own(place):
    call, page = place
    run = result()["run"]
    real = run | {"overrides": ["--config.triplets=real"]}
    classifier = result("classifier", train_seconds=1.0)
    assert call(a=classifier | {"run": run}, b=classifier | {"run": real}) == 0
    (rows,) = cells(page).values()
    assert [row[:2] for row in rows] == [
        ["its classifier's label", "a"], ["its classifier's label", "a, triplets=real"]
    ]  # fmt: skip


def test_data_sets_and_protocols_have_tables_of_their_own(place):
    call, page = place
    cifar10 = {"dataset": "cifar10", "dataset_version": "3.0.2"}
    assert 0 == call(
        a=result(), b=result(protocol="100/200/1497", split_checksum="c1"),
        c=result(protocol="100/200/1697", split_checksum="c2", hardware=GPU, **cifar10),
    )  # fmt: skip
    tables = cells(page)
    assert [(title.split(" (q")[0], len(rows)) for title, rows in tables.items()] == [
        ("### CIFAR-10 (JPEG), 100/200/1697", 1),
        ("### Handwritten digits, 100/200/1497", 1),
        ("### Handwritten digits, 100/200/1697", 1),
    ]
    assert next(iter(tables.values()))[0][9] == "4 x H200"
    assert page.read_text().count("JPEG re-encoding of the original pixels") == 1


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"split_checksum": "c1", "codes": "itq", "run": {}}, "split_checksum"),
        ({"rules": {"ties": "first"}, "seed": 1}, "rules"),
        ({}, "same configuration and seed"),
    ],
)
def test_results_that_do_not_go_together(place, capsys, other, named):
    call, page = place
    before = page.read_text()
    assert call(one=result(), two=result() | other) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "one.json" in error and "two.json" in error and named in error
    assert page.read_text() == before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([1], "no dataset"),
        ({k: v for k, v in result().items() if k != "protocol"}, "no protocol"),
        (result(map="0.5"), "map"),
        (result(run={}), "how it was trained"),
    ],
)
def test_a_file_that_is_not_a_result(place, capsys, content, named):
    call, _ = place
    assert call(bad=content) == 2
    error = capsys.readouterr().err
    assert "bad.json" in error and named in error


def test_a_file_that_is_not_json(place, capsys):
    call, page = place
    (page.parents[1] / "results/cut.json").write_text('{"map": 0.')
    assert call() == 2 and "cut.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}\n", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_its_markers(place, capsys, text):
    call, page = place
    page.write_text(text)
    assert call(a=result()) == 2
    assert "results.md" in capsys.readouterr().err and page.read_text() == text


def test_check_writes_nothing(place, capsys):
    call, page = place
    before = page.read_text()
    assert call("--check") == 0 and call() == 0 and page.read_text() == before  # no results
    assert call("--check", a=result()) == 1
    assert page.read_text() == before and "not up to date" in capsys.readouterr().err
    assert call() == 0 and page.read_text() != before
    after = page.read_text()
    assert call("--check") == 0 and call() == 0 and page.read_text() == after
    assert call("--check", b=result("itq")) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (5969, "99 min"),
                          (5971, "1 h 40 min"), (36000, "10 h 0 min")]
)  # fmt: skip
def test_times_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("tool", [results_table, speed_table])
def test_the_pages_are_up_to_date(tool, capsys):
    assert tool.main(["--check"]) == 0, capsys.readouterr().err


def test_a_split_may_be_drawn_with_the_seed(place):
    call, page = place
    draw = [
        result(seed=k, split_checksum=f"c{k}", overrides=[f"--config.data.split_seed={k}"])
        for k in (0, 1)
    ]
    assert call(a=draw[0], b=draw[1], c=result("itq")) == 0
    rows = next(iter(cells(page).values()))
    assert [row[7] for row in rows] == ["0, 1", "0"]
    third = result(seed=2, split_checksum="c1", overrides=["--config.data.split_seed=1"])
    assert call(d=third) == 0
    assert next(iter(cells(page).values()))[0][7] == "0, 1, 2 (2 splits)"


def test_the_readme_has_the_plainest_config_of_each_method(place):
    call, page = place
    off = ["--config.improvements.nonlinear=False"]
    text = {"dataset": "reuters21578", "num_bits": 32}
    documents = {
        "all": result("shttm_neural", config="n", map=0.7, **text),
        "fewer": result("shttm_neural", config="n", overrides=off, map=0.9, **text),
        "itq": result("itq", **text),
        **{f"arm_{arm}": result(codes, config=f"documents_arms.py:reuters-{arm}", map=0.6, **text)
           for arm, codes in (("nash_supervised",) * 2, ("all", "shttm_neural"),
                              ("linear", "shttm_neural"))},
    }  # fmt: skip
    # Of 20 Newsgroups' arms only the one that its config is.
    for arm in ("all", "all_linear_decoder"):
        documents[f"newsgroups_{arm}"] = result(
            "shttm_neural", config=f"documents_arms.py:newsgroups-{arm}", map=0.6,
            dataset="20newsgroups", num_bits=32,
        )  # fmt: skip
    for name, content in documents.items():
        path = page.parents[1] / f"results/documents/{name}.json"
        path.write_text(json.dumps(content))
    fifty = partial(result, num_labeled=50)
    assert 0 == call(
        a=fifty(seed=0, map=0.2), b=fifty(seed=1, map=0.4), c=fifty("real"),
        d=fifty(overrides=["--config.loss.unlabeled=mask"]), e=fifty("itq"),
        f=result(num_labeled=30, split_checksum="c1"), g=fifty(num_bits=32),
        h=fifty("real", overrides=["--config.num_steps=9"], config="b"),
    )  # fmt: skip
    digits, reuters = "Handwritten digits, 100/200/1697", "Reuters-21578 (ModApte), 100/200/1697"
    lines = (page.parents[1] / "README.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    of_data = {(row[0], row[4], row[6]) for row in rows[2:]}
    news = "20 Newsgroups, 100/200/1697"
    of_texts = {(name, "200 + ?", "-") for name in (reuters, news)}
    assert of_data == {(digits, "50 + ?", "-"), *of_texts}
    assert [[*row[:4], row[5]] for row in rows[2:]] == [
        [digits, "DSH-GANs", "a", "16", "0.300 ± 0.141 (n = 2)"],
        [digits, "network alone, real triplets", "a", "16", "0.500"],
        [digits, "network alone, real triplets", "b", "16", "0.500"],
        [digits, "ITQ on raw pixels", "-", "16", "0.500"],
        [reuters, "neural + all improvements", "shttm_neural_reuters_32bit", "32", "0.600"],
        [reuters, "neural SHTTM", "n", "32", "0.700"],
        [reuters, "NASH, supervised", "nash_supervised_reuters_32bit", "32", "0.600"],
        [reuters, "ITQ on tf-idf", "-", "32", "0.500"],
        [news, "neural + all but a non-linear decoder", "shttm_neural_newsgroups_32bit", "32",
         "0.600"],
    ]  # fmt: skip


def test_configs_without_a_result_are_named(place):
    call, page = place
    for name in ("a", "b", "c", "smoke"):
        header = f'"""python train.py --config configs/{name}.py"""\n'
        (page.parents[1] / f"configs/{name}.py").write_text(header)
    (page.parents[1] / "configs/base.py").write_text("def get_config(num_bits):\n")
    assert call(run=result(config="a.py"), other=result(config="b.py:8")) == 0
    readme = (page.parents[1] / "README.md").read_text()
    assert "Configs without a result so far: `c`." in readme


def test_benchmarks_have_a_table_each(place):
    _, results = place
    root = results.parents[1]
    page, file = root / "docs/speed.md", root / "results/speed/evaluate.json"
    content = {"title": "Evaluation", "figures": {"all metrics": "1 s"}, "run": {"hardware": CPU}}
    file.write_text(json.dumps(content))
    assert speed_table.main(["--check", "--root", str(root)]) == 1
    assert speed_table.main(["--root", str(root)]) == 0
    text = page.read_text()
    table = text[text.index("## Evaluation: Fast | CPU, 2 cores") :]
    assert "| measured | [evaluate](../results/speed/evaluate.json) |" in table
    assert "| all metrics | 1 s |" in table
    file.write_text("{}")
    assert speed_table.main(["--root", str(root)]) == 2


def test_draws_of_unseen_classes_are_one_row(place):
    call, page = place
    unseen = ["--config.data.unseen_classes=3"]
    draws = [
        result(seed=seed, map=0.4 + seed / 10, protocol=f"unseen 3 of 10, 30/140/{510 + seed}",
               split_checksum=f"c{seed}", split_seed=seed, overrides=unseen,
               unseen_classes=list("abc"))
        for seed in range(2)
    ]  # fmt: skip
    assert call(a=draws[0], b=draws[1]) == 0
    ((title, rows),) = cells(page).items()
    assert "unseen 3 of 10, 30/140/the rest" in title
    (row,) = rows
    assert row[:2] == ["DSH-GANs", "a"] and row[4] == "0.450 ± 0.071 (n = 2)"
