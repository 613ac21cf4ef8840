"""LDA topics: found where they were planted, by the formulas, and cached by their inputs."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import LatentDirichletAllocation

from dsh_jax.data.documents import lda
from dsh_jax.data.documents.topics import infer_topics, learn_topics
from dsh_jax.rng import stream_rng


def planted(n=300, num_topics=3, seed=0):
    """Documents of one topic each, sorted by it; a topic has ten words of its own."""
    rng = np.random.default_rng(seed)
    topic = np.arange(n) * num_topics // n
    counts = np.zeros((n, 10 * num_topics), np.int32)
    for row, own in enumerate(topic):
        np.add.at(counts[row], 10 * own + rng.integers(0, 10, 40), 1)
        np.add.at(counts[row], rng.integers(0, 10 * num_topics, 4), 1)
    return sp.csr_array(counts), topic


def learn(counts, num_topics=3, seed=0, iterations=5, cache=None):
    return learn_topics(
        counts, num_topics=num_topics, seed=seed, iterations=iterations, cache=cache
    )


def same(left, right):
    return left.words.tobytes() == right.words.tobytes()


def test_planted_topics_are_found():
    counts, topic = planted()
    shares = infer_topics(learn(counts, iterations=20), counts)
    found = shares.argmax(axis=1)
    names = [np.bincount(found[topic == own]).argmax() for own in range(3)]
    assert sorted(names) == [0, 1, 2]
    assert np.mean(np.array(names)[topic] == found) > 0.98


def shares_by_hand(words, document, updates):
    """Of one document, not normalised, and the expected counts of its words by topic."""
    num_words, num_topics = words.shape
    shares = np.ones(num_topics)
    for update in range(updates + 1):
        expected = np.zeros((num_words, num_topics))
        for word in range(num_words):
            responsible = [shares[topic] * words[word, topic] for topic in range(num_topics)]
            expected[word] = document[word] * np.array(responsible) / sum(responsible)
        if update < updates:
            shares = expected.sum(axis=0) + 1 / num_topics
    return shares, expected


def test_topics_and_shares_follow_their_formulas():
    counts, _ = planted(33)
    rng = stream_rng(5, "topics", 0)
    dense = counts.toarray()[rng.permutation(33)]
    pseudo = rng.gamma(100.0, 0.01, (30, 3))
    # Batches of 16, 16 and 1 in a pass.
    for number, rows in enumerate((slice(0, 16), slice(16, 32), slice(32, 33)) * 2):
        words = pseudo / pseudo.sum(axis=0)
        found = sum(shares_by_hand(words, document, 5)[1] for document in dense[rows])
        rate = (10 + number) ** -0.7
        pseudo = (1 - rate) * pseudo + rate * (1 / 3 + 33 / len(dense[rows]) * found)
    topics = learn(counts, seed=5, iterations=2)
    np.testing.assert_allclose(topics.words, pseudo / pseudo.sum(axis=0), rtol=1e-4)
    assert topics.words.dtype == np.float32

    unseen, _ = planted(4, seed=1)
    shares = infer_topics(topics, unseen)
    assert shares.shape == (4, 3) and shares.dtype == np.float64
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    for row, document in zip(shares, unseen.toarray(), strict=True):
        wanted, _ = shares_by_hand(topics.words.astype(float), document, 20)
        np.testing.assert_allclose(row, wanted / wanted.sum(), rtol=1e-4)


def test_unseen_words_are_predicted_no_worse_than_by_scikit_learn():
    counts, _ = planted(300)
    unseen, _ = planted(60, seed=1)
    half = unseen.toarray() // 2
    rest = unseen.toarray() - half
    peer = LatentDirichletAllocation(3, max_iter=20, random_state=0).fit(counts)
    topics = learn(counts)
    logs = [
        (rest * np.log(shares @ words)).sum() / rest.sum()
        for shares, words in (
            (infer_topics(topics, sp.csr_array(half)), topics.words.T),
            (peer.transform(half), peer.components_ / peer.components_.sum(axis=1)[:, None]),
        )
    ]
    assert logs[0] > logs[1] - 0.01


def test_blocks_of_any_size_give_the_same_topics(monkeypatch):
    counts, _ = planted(40)
    topics = learn(counts)
    shares = infer_topics(topics, counts)
    monkeypatch.setattr(lda, "_BLOCK_ELEMENTS", 1)  # less than one document
    np.testing.assert_array_equal(infer_topics(topics, counts), shares)
    np.testing.assert_allclose(learn(counts).words, topics.words, rtol=1e-4)


def test_each_document_is_read_by_itself_and_an_empty_one_is_even():
    counts, _ = planted(40)
    topics = learn(counts)
    shares = infer_topics(topics, counts)
    for row in range(0, 40, 7):
        np.testing.assert_array_equal(infer_topics(topics, counts[[row]])[0], shares[row])
    empty = infer_topics(topics, sp.csr_array((2, 30), dtype=np.int32))
    np.testing.assert_allclose(empty, 1 / 3, rtol=1e-12)
    with pytest.raises(ValueError, match="30\\], got .*29"):
        infer_topics(topics, counts[:, :29])


def test_the_seed_decides():
    counts, _ = planted(60)
    topics = learn(counts)
    assert same(topics, learn(counts))
    assert not same(topics, learn(counts, seed=1))


def test_one_topic_is_everything():
    counts, _ = planted(20)
    topics = learn(counts, num_topics=1)
    np.testing.assert_array_equal(infer_topics(topics, counts), np.ones((20, 1)))


@pytest.fixture
def learned(monkeypatch):
    """The counts that topics were learned from, whenever they were not found."""
    calls, fit = [], lda.fit_lda

    def counted(counts, **options):
        calls.append(counts)
        return fit(counts, **options)

    monkeypatch.setattr(lda, "fit_lda", counted)
    return calls


def test_sorted_documents_are_mixed_before_they_are_learned(monkeypatch):
    counts, _ = planted(1536, num_topics=6)
    batches, shares_of = [], lda._document_shares

    def noted(batch, words, updates):
        batches.append(batch)
        return shares_of(batch, words, updates)

    monkeypatch.setattr(lda, "_document_shares", noted)
    learn(counts, num_topics=6, iterations=1)
    dense, mixed = counts.toarray(), sp.vstack(batches).toarray()
    np.testing.assert_array_equal(np.unique(mixed, axis=0), np.unique(dense, axis=0))
    topic = mixed.reshape(1536, 6, 10).sum(axis=2).argmax(axis=1)
    for part in np.split(topic, 6):
        assert np.bincount(part, minlength=6).min() > 20


def test_topics_are_found_again_by_their_content(tmp_path, learned):
    counts, _ = planted(60)
    cache = tmp_path / "new" / "topics"
    topics = learn(counts, cache=cache)
    (path,) = cache.iterdir()
    assert path.suffix == ".npz" and len(path.stem) == 64 and len(learned) == 1

    coo = counts.tocoo()
    order = np.random.default_rng(0).permutation(coo.nnz)
    unsorted = sp.coo_array(
        (
            np.append(coo.data[order], 0),
            (np.append(coo.row[order], 0), np.append(coo.col[order], 0)),
        ),
        counts.shape,
    )
    for alike in (counts.copy(), counts.astype(np.float32), sp.csr_matrix(counts), unsorted):
        assert same(learn(alike, cache=cache), topics)
    assert len(learned) == 1
    assert same(learn(counts), topics) and len(learned) == 2  # without a cache


def test_any_other_input_is_learned(tmp_path, learned, monkeypatch):
    counts, _ = planted(60)
    more = counts.copy()
    more.data[0] += 1
    wider = sp.csr_array((counts.data, counts.indices, counts.indptr), (60, 31))
    turned = counts[np.roll(np.arange(60), 1)]
    learn(counts, cache=tmp_path)
    for number, other in enumerate((more, wider, turned, counts[:-1]), 2):
        learn(other, cache=tmp_path)
        assert len(learned) == len(list(tmp_path.iterdir())) == number
    for number, options in enumerate(({"num_topics": 2}, {"seed": 1}, {"iterations": 4}), 6):
        learn(counts, cache=tmp_path, **options)
        assert len(learned) == len(list(tmp_path.iterdir())) == number
    monkeypatch.setattr(lda, "VERSION", 0)
    learn(counts, cache=tmp_path)
    assert len(learned) == len(list(tmp_path.iterdir())) == 9


def test_topics_of_a_damaged_cache_are_learned_again(tmp_path, learned):
    counts, _ = planted(60)
    topics = learn(counts, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    other = tmp_path / "other.npz"
    np.savez(other, words=np.ones((30, 2), np.float32))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damages = (b"", b"text", whole[: len(whole) // 2], bytes(flipped), other.read_bytes())
    other.unlink()
    for number, damage in enumerate(damages, 2):
        path.write_bytes(damage)
        assert same(learn(counts, cache=tmp_path), topics)
        assert len(learned) == number and list(tmp_path.iterdir()) == [path]
        assert same(learn(counts, cache=tmp_path), topics)  # repaired
        assert len(learned) == number


def test_more_topics_than_documents_or_words_are_the_users_mistake():
    counts, _ = planted(20)
    padded = sp.vstack([counts, sp.csr_array((80, 30), dtype=np.int32)], format="csr")
    for few in (counts, padded):
        assert learn(few, num_topics=20, iterations=1).words.shape == (30, 20)
        with pytest.raises(ValueError, match="num_bits is 21, but 20 .* 30 words support 1 to 20"):
            learn(few, num_topics=21)
    with pytest.raises(ValueError, match="num_bits is 5, but .* 4 words support 1 to 4 .*choose"):
        learn(counts[:, :4], num_topics=5)
    with pytest.raises(ValueError, match="num_bits is 0"):
        learn(counts, num_topics=0)


def test_the_counts_are_left_as_they_were():
    counts, _ = planted(20)
    counts.data[0] = 0  # a stored zero
    before = counts.copy()
    infer_topics(learn(counts), counts)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(counts, name), getattr(before, name))
    assert counts.dtype == np.int32
