"""A user's own documents: CSV, Parquet and folders of text files, and files with mistakes."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from dsh_jax import load_encoder
from dsh_jax.data.documents.collections import load_documents
from dsh_jax.data.documents.own import Reading
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from dsh_jax.training.workdir import check_same_config
from tests import corpus
from tests.collection_files import same
from tests.commands import refused
from tests.messages import one_sentence

CSV = "id,text,tags,test\na,one word,y;x,\nb,,,true\nc,\u00fc,x; x,0\n"


def read(name, path, **options):
    columns = {key: options.pop(key) for key in ("id", "text", "tags", "test") if key in options}
    return load_documents(name, path, Reading(columns, **options))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_parquet(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_csv(tmp_path):
    made = read("csv", write(tmp_path / "a.csv", CSV))
    assert made.name == "csv" and made.names == ("a", "b", "c")
    assert made.texts == ("one word", "", "\u00fc") and made.class_names == ("x", "y")
    assert made.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert made.is_test.tolist() == [False, True, False] and len(made.contents) == 3
    for name, content in (
        ("semicolons", CSV.replace(",", "|").replace(";", " ; ").replace("|", ";")),
        ("tabs", CSV.replace(",", "\t")), ("lines", CSV.replace("\n", "\r\n")),
        ("mark", b"\xef\xbb\xbf" + CSV.encode()), ("blank lines", "\n\n" + CSV + "\n"),
    ):  # fmt: skip
        if name == "semicolons":
            content = content.replace("y ; x", '"y ; x"').replace("x ;  x", '"x ;  x"')
        again = read("csv", write(tmp_path / name, content))
        assert again.texts == made.texts and again.labels.tolist() == made.labels.tolist(), name
        assert again.version != made.version or content == CSV


def test_csv_cells_may_hold_anything(tmp_path):
    text = 'two\nlines, a ""quote"" and, commas'
    made = read("csv", write(tmp_path / "a.csv", f'text,more\n"{text}",1\nplain,2\n'))
    assert made.texts == (text.replace('""', '"'), "plain")
    assert made.names == ("2", "4")  # the lines at which rows begin
    assert made.class_names == () and not made.is_test.any()


def test_columns_by_name(tmp_path):
    content = "key,body,labels\nk1,words,a/b\nk2,more,\n"
    made = read("csv", write(tmp_path / "a.csv", content), id="key", text="body", tags="labels",
                separator="/")  # fmt: skip
    assert made.names == ("k1", "k2") and made.texts == ("words", "more")
    assert made.labels.tolist() == [[1, 1], [0, 0]]
    whole = read("csv", tmp_path / "a.csv", text="body", tags="labels", separator="")
    assert whole.class_names == ("a/b",) and whole.labels.tolist() == [0, -1]
    line = {"key": 7, "body": "words", "labels": ["b", "a"], "split": True}
    path = write(tmp_path / "a.jsonl", json.dumps(line))
    made = read("jsonl", path, id="key", text="body", tags="labels", test="split")
    assert made.names == ("7",) and made.class_names == ("a", "b") and made.is_test.all()
    one_sentence(
        lambda: read("jsonl", path, text="body"), "Line 1", 'has no "id"',
        'with the keys "id", "body", "tags", "test"',
    )  # fmt: skip
    for column in ("id", "text", "tags", "test"):
        one_sentence(
            lambda column=column: read("jsonl", path, **{column: "none"}),
            "no line of", "has the key 'none'", f"set data.{column}_column",
        )  # fmt: skip


def test_one_tag_each_is_a_class_id(tmp_path):
    made = read("csv", write(tmp_path / "a.csv", "text,tags\na,y\nb,x\nc,\n"))
    assert made.labels.tolist() == [1, 0, -1] and not made.multi_label


def test_parquet(tmp_path):
    wanted = read("csv", write(tmp_path / "a.csv", CSV))
    forms = {
        "lists": {"tags": [["y", "x"], None, ["x", "x"]], "test": [False, True, None]},
        "strings": {"tags": ["y;x", "", "x; x"], "test": [0, 1, 0]},
        "categories": {"tags": pyarrow.array(["y;x", None, "x"]).dictionary_encode(),
                       "test": [False, True, False]},
    }  # fmt: skip
    for name, columns in forms.items():
        path = write_parquet(
            tmp_path / name, id=["a", "b", "c"], text=["one word", "", "\u00fc"], **columns
        )
        made = read("parquet", path)
        assert made.names == wanted.names and made.texts == wanted.texts, name
        assert made.labels.tolist() == wanted.labels.tolist(), name
        assert made.is_test.tolist() == wanted.is_test.tolist(), name
    path = write_parquet(tmp_path / "few", body=["a", "b"], number=[3, 5])
    made = read("parquet", path, text="body")
    assert made.names == ("0", "1") and made.class_names == ()
    assert read("parquet", path, text="body", id="number").names == ("3", "5")


def test_text_files(tmp_path):
    root = tmp_path / "notes"
    for place, text in (
        ("fruit/a.txt", "apple"), ("fruit/red/b.MD", "cherry"), ("metal/c.md", b"\xef\xbb\xbftin"),
        ("d.txt", "none"), ("fruit/e.html", "<p>"), (".git/f.txt", "x"), ("fruit/.g.txt", "x"),
    ):  # fmt: skip
        write(root / place, text)
    made = read("text_files", root)
    assert made.names == ("d.txt", "fruit/a.txt", "fruit/red/b.MD", "metal/c.md")
    assert made.texts == ("none", "apple", "cherry", "tin")
    assert made.class_names == ("fruit", "fruit/red", "metal")
    assert made.labels.tolist() == [-1, 0, 1, 2] and not made.is_test.any()
    assert same(read("text_files", root), made)
    write(root / "d.txt", "other")
    assert read("text_files", root).version != made.version


def test_a_divided_folder(tmp_path):
    for part, group in (("train", "x"), ("train", "y"), ("test", "x")):
        write(tmp_path / part / group / "1.txt", f"{part} {group}")
    made = read("text_files", tmp_path)
    assert made.class_names == ("x", "y") and made.labels.tolist() == [0, 0, 1]
    assert made.is_test.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        ("", {}, ["holds no documents", "set data.data_dir to a CSV file"]),
        ("id,text,tags\n", {}, ["holds no documents"]),
        ("id,body\na,b\n", {}, ["no column 'text'", "data.text_column", "('id', 'body')"]),
        ("id,body\na,b\n", {"text": "bodys"}, ["no column 'bodys'", "it may be 'body'"]),
        ("id,text\na,b\n", {"tags": "topics"}, ["no column 'topics'", "data.tags_column"]),
        ("id,text,Tags\na,b,c\n", {}, ["no column 'tags'", "it may be 'Tags'"]),
        ("id,text,text\na,b,c\n", {}, ["two columns 'text'"]),
        ("id,text\na,b\na,c\n", {}, ["Line 3", "repeats the id 'a' of line 2"]),
        ("id,text\na,b,c\n", {}, ["Line 2", "has 3 columns, not 2"]),
        ("id,text\n,b\n", {}, ["Line 2", "has no id"]),
        ("text,test\na,maybe\n", {}, ["Line 2", "test 'maybe', not true or false"]),
        ('text\n"a\nb\n', {}, ["Line 2", "a quote has no end"]),
        (b"text\na\n\xfcb\n", {}, ["Line 3", "not in UTF-8 (byte 0xFC)"]),
        ("text\na\n".encode("utf-16"), {}, ["is in UTF-16"]),
        ("text\n" + "a" * 99, {"max_characters": 98}, ["99 characters", "data.max_characters"]),
        ("text,tags\na,1;2;3\n", {"max_tags": 2}, ["3 different tags", "data.max_tags is 2"]),
    ],
)  # fmt: skip
def test_csv_that_is_refused(tmp_path, content, options, parts):
    path = write(tmp_path / "a.csv", content)
    one_sentence(lambda: read("csv", path, **options), path, *parts)


def test_many_wrong_rows_are_in_one_error(tmp_path):
    path = write(tmp_path / "a.csv", "text,more\n" + "a\n" * 12)
    with pytest.raises(UserError, match=f"12 lines of {path} are wrong") as caught:
        read("csv", path)
    assert caught.value.mistakes[0] == "line 2 has 1 columns, not 2"


def test_a_document_of_ten_megabytes(tmp_path):
    long = "many words " * 10**6
    path = write(tmp_path / "a.csv", f"text\nshort\n{long}\n")
    assert len(read("csv", path).texts[1]) == len(long)  # Python's limit is 131,072
    one_sentence(lambda: read("csv", path, max_characters=10**6), "'3'", "has 11,000,000 char")
    for place in ("x/a.txt", "x/b.txt"):
        write(tmp_path / "folder" / place, long)
    one_sentence(lambda: read("text_files", tmp_path / "folder", max_characters=10**6), "x/a.txt")


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"body": ["a"]}, ["no column 'text'", "'body'"]),
        ({"text": ["a", None]}, ["Row 1", "has text None, not a string"]),
        ({"text": [1.5]}, ["Row 0", "has text 1.5, not a string"]),
        ({"text": [b"a"]}, ["Row 0", "not a string"]),
        ({"text": ["a"], "tags": [3]}, ["Row 0", "has tags 3, not a list of strings or a string"]),
        ({"text": ["a"], "tags": [[1]]}, ["Row 0", "has tags [1]"]),
        ({"text": ["a"], "id": [0.5]}, ["has id 0.5"]),
        ({"text": ["a", "b"], "id": [1, 1]}, ["Row 1", "repeats the id '1' of row 0"]),
        ({"text": ["a"], "test": ["no"]}, ["has test 'no', not true or false"]),
        ({"text": pyarrow.array([], pyarrow.string())}, ["holds no documents"]),
    ],
)  # fmt: skip
def test_parquet_that_is_refused(tmp_path, columns, parts):
    path = write_parquet(tmp_path / "a.parquet", **columns)
    one_sentence(lambda: read("parquet", path), path, *parts)


def test_folders_and_files_that_are_refused(tmp_path):
    for name, content in (("a", "words"), ("b", "")):
        with pytest.raises(UserError, match="cannot be read as Parquet .*; write it again.$"):
            read("parquet", write(tmp_path / name, content))
    one_sentence(lambda: read("text_files", tmp_path / "a"), "is not a folder")
    one_sentence(lambda: read("csv", tmp_path), "cannot be read", "set data.data_dir")
    (tmp_path / "empty").mkdir()
    one_sentence(lambda: read("text_files", tmp_path / "empty"), "holds no documents")
    write(tmp_path / "bad/x/1.txt", b"\xff")
    one_sentence(lambda: read("text_files", tmp_path / "bad"), "x/1.txt has byte 0xFF", "UTF-8")
    write(tmp_path / "bad/x/2.txt", b"a\xff")
    with pytest.raises(UserError, match="2 files of .* are not in UTF-8: save them as UTF-8"):
        read("text_files", tmp_path / "bad")


def as_csv(path):
    rows = [[str(row["id"]), row["text"], ";".join(row["tags"]), str(row["test"])]
            for row in corpus.lines()]  # fmt: skip
    header = ["key", "body", "topics", "held"]
    return write(path, "\n".join(",".join(row) for row in [header, *rows]))


def test_training_on_a_table_of_ones_own(tmp_path):
    path = as_csv(tmp_path / "a.csv")
    config = corpus.config(path)
    config.data.source = "csv"
    config.data.update(id_column="key", text_column="body", tags_column="topics",
                       test_column="held", analyser="characters")  # fmt: skip
    run = tmp_path / "run"
    train(config, run, {})
    result = evaluate_workdir(run)
    assert result["map"] > 0.6 and result["protocol"] == "15/126/126"
    inputs = json.loads((run / "signature.json").read_text())["signature"]["inputs"]
    assert inputs["analyser"] == "characters" and inputs["ngrams"] == [3, 5]
    assert " app" in inputs["words"] and "apple" in inputs["words"]
    load_encoder(run).save(tmp_path / "encoder")
    texts = [row["text"] for row in corpus.lines()]
    codes = load_encoder(tmp_path / "encoder").encode(texts)
    with np.load(run / "codes.npz") as kept:
        np.testing.assert_array_equal(codes[kept["query_ids"]], kept["query_codes"])
    # One more document in the file, and the run goes on as before.
    write(path, path.read_text() + "\nnew,apple words,fruit,False")
    assert evaluate_workdir(run)["map"] == result["map"]


def test_ngrams_of_a_config(tmp_path):
    config = corpus.config(corpus.write(tmp_path / "c.jsonl"))

    def words(**changed):
        config.data.update({"analyser": "words", "ngram_min": 0, "ngram_max": 0} | changed)
        return prepare(config, tmp_path / "none").dataset.vocabulary

    assert words().ngrams == (1, 1)
    assert words(ngram_max=2).ngrams == (1, 2)
    assert "daily report" in words(ngram_max=2).words and "daily report" not in words().words
    assert words(analyser="characters").ngrams == (3, 5)
    found = words(analyser="characters", ngram_min=2, ngram_max=2)
    assert {len(word) for word in found.words} == {2}
    assert words(analyser="characters", ngram_max=2).ngrams == (2, 2)
    assert words(analyser="characters", ngram_min=7).ngrams == (7, 7)
    with pytest.raises(UserError, match="data.ngram_max is 1, below data.ngram_min, 2"):
        words(ngram_min=2, ngram_max=1)
    with pytest.raises(UserError, match="data.analyser is 'letters'; set it to one of"):
        words(analyser="letters")


def test_the_commands_refuse_in_one_sentence(tmp_path):
    path = as_csv(tmp_path / "a.csv")
    sentence = refused(
        tmp_path, tmp_path / "run", "train.py", "--config=configs/shttm_reuters_32bit.py",
        "--config.data.source=csv", f"--config.data.data_dir={path}",
    )  # fmt: skip
    assert "has no column 'text': set data.text_column to one of its columns" in sentence


def test_a_run_of_an_earlier_config_goes_on(tmp_path):
    config = corpus.config(corpus.write(tmp_path / "c.jsonl"))
    earlier = config.to_dict()
    new = ("analyser", "ngram_min", "ngram_max", "tag_separator", "max_characters", "max_tags",
           *(f"{column}_column" for column in ("id", "text", "tags", "test")))  # fmt: skip
    for field in new:
        del earlier["data"][field]
    (tmp_path / "run/checkpoints/3").mkdir(parents=True)
    write(tmp_path / "run/config.json", json.dumps(earlier))
    assert check_same_config(tmp_path / "run", config)
    config.data.text_column = "body"
    with pytest.raises(UserError, match="data.text_column"):
        check_same_config(tmp_path / "run", config)
    # Without them documents are read as they were, without limits.
    del config.data[new[0]], config.data["max_tags"], config.data["text_column"]
    prepare(config, tmp_path / "none")
