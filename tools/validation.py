"""Scores a config of SHTTM on validation documents, in seconds; the queries are never read.

Validation documents ask for training documents, as queries will; a checkpoint is chosen as
`train.py` does, by mAP of the validation documents among themselves.
"""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.batches import make_batch
from dsh_jax.data.targets import Targets
from dsh_jax.devices import AXIS, compile_encode, replicate, shard, unreplicate
from dsh_jax.forward import packed_bits, run_dataset
from dsh_jax.methods import METHODS, shttm, shttm_improvements, shttm_neural
from dsh_jax.methods.base import State, kept_variables
from dsh_jax.methods.shttm_codes import ShttmCodes, learn_codes
from dsh_jax.methods.shttm_hash import fit_hash_function
from dsh_jax.methods.word_players import topic_model
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision, precision_at
from dsh_jax.training.experiment import build_method, find_recipe, prepare

Scores = dict[str, float]
Step = Callable[[State, Any, dict[str, Any]], State]
_CODE_FIELDS = ("present", "missing", "tag_ridge", "topic_weight", "iterations", "tolerance",
                "dtype", "exposure", "correlated_tags")  # fmt: skip


_NUMBERS = {
    "num_steps": 1, "loss.missing": 0.5,
    **dict.fromkeys(("optimizer.network.learning_rate", "loss.present", "loss.topic_weight",
                     "loss.word_weight", "loss.kl_weight", "loss.tag_weight", "correlation.weight",
                     "correlation.smoothing"), 1.0),
}  # fmt: skip
"""Fields that change no compiled program, which takes their values as arguments; some value of each
stands in for all."""
_DROPOUT = ("encoder.dropout", "encoder.word_dropout")


class Bench:
    """The documents of one draw, ready to score configs."""

    def __init__(self, config: ConfigDict, draw: int) -> None:
        """Reads the documents.

        Args:
          config: whose data and topics all configs to be scored have.
          draw: the seed of training and of the split.
        """
        self.draw = draw
        self._config = self._drawn(config)
        experiment = prepare(self._config, None)
        self.dataset, self.split = experiment.dataset, experiment.split
        self._signature = experiment.signature
        self._devices = jax.local_devices()[:1]
        self._width = 1
        self._learned = functools.lru_cache(maxsize=4)(self._learn)
        self._kernel = functools.lru_cache(maxsize=4)(self._fit)
        self._encode = functools.lru_cache(maxsize=4)(self._compiled)
        self._train = functools.lru_cache(maxsize=4)(self._compiled_step)

    def _drawn(self, config: ConfigDict) -> ConfigDict:
        """A copy of a config with the seeds of this draw."""
        config = config.copy_and_resolve_references()
        config.seed = config.data.split_seed = self.draw
        return config

    @functools.cached_property
    def _topics(self) -> np.ndarray:
        ids = self.split.training
        return topic_model(self._config, self.dataset, ids)(ids)

    @functools.cached_property
    def _features(self) -> Any:
        return self.dataset.features(self.split.training)

    def score(self, config: ConfigDict) -> Scores:
        """precision@100 and mAP of validation documents among training documents, and more.

        Args:
          config: of an arm; its seeds are set to this draw.

        Returns:
          Also `validation_map`, `step` of the checkpoint that was measured, and `seconds`.

        Raises:
          UserError, ValueError: the settings are invalid, or weights are too far apart.
        """
        config = self._drawn(config)
        find_recipe(config)
        began = time.perf_counter()
        found = self._closed(config) if config.method == "shttm" else self._trained(config)
        return found | {"seconds": time.perf_counter() - began}

    def _closed(self, config: ConfigDict) -> Scores:
        settings = config.codes
        key = json.dumps(
            [{name: settings[name] for name in _CODE_FIELDS}, config.exposure.to_dict(),
             config.correlation.to_dict()]
        )  # fmt: skip
        learned = self._learned(key)
        kernel = self._kernel(key, float(settings.hash_ridge))
        rotation, threshold = shttm.binarisation(
            settings, learned.codes, kernel, self._features, seed=config.seed
        )
        state = shttm.state_of(kernel @ rotation, threshold, len(learned.objectives))
        encode = functools.partial(self._codes, config, state)
        database = encode(self.split.labeled)
        if settings.database_codes == "learned":
            packed = shttm.binarised(learned.codes, rotation, threshold)
            database = packed[np.isin(self.split.training, self.split.labeled)]
        return self._measured(encode, database) | {
            "validation_map": self._among_themselves(encode), "step": len(learned.objectives)
        }  # fmt: skip

    def _learn(self, key: str) -> ShttmCodes:
        codes, exposure, correlation = json.loads(key)
        config = ConfigDict({"codes": codes, "exposure": exposure, "correlation": correlation})
        tags = self.dataset.multi_hot(self.split.training)
        return learn_codes(
            tags, self._topics, **shttm.code_options(config.codes),
            **shttm_improvements.options(config, tags),
        )  # fmt: skip

    def _fit(self, key: str, ridge: float) -> np.ndarray:
        return fit_hash_function(self._features, self._learned(key).codes, ridge=ridge)

    def _trained(self, config: ConfigDict) -> Scores:
        method = build_method(config, self._signature)
        (stage,), ids = method.stages, self.split.training
        targets = None
        if method.learn_targets is not None:
            targets = Targets(ids, shttm_neural.standardised(self._topics))
        init, step_fn = self._train(_structure(config))
        state = init(jax.random.key(config.seed))
        assert method.prepare is not None
        stacked = replicate(method.prepare(state, self.dataset, ids), self._devices)
        weights = replicate(_weights(stage.step.__self__), self._devices)
        rates = jax.vmap(method.learning_rates)(np.arange(config.num_steps) + 1)["network"]
        rates = np.asarray(rates)
        best, top = None, {"validation_map": -np.inf}
        for step in range(1, config.num_steps + 1):
            batch = make_batch(self.dataset, self.split, stage.batch, step - 1, targets)
            now = {"weights": weights, "rate": rates[step - 1 : step]}
            stacked = step_fn(stacked, shard(self._widened(batch), self._devices), now)
            if step % config.eval_every_steps and step < config.num_steps:
                continue
            state = unreplicate(stacked)
            score = self._among_themselves(functools.partial(self._codes, config, state))
            if score > top["validation_map"]:
                best, top = state, {"validation_map": score, "step": step}
        if best is None:  # not finite
            raise ValueError(f"no validation mAP in {config.num_steps} steps")
        encode = functools.partial(self._codes, config, best)
        return self._measured(encode, encode(self.split.labeled)) | top

    def _widened(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with rows of words as wide as the widest so far, so that few are compiled."""
        rows = [name for name in batch if name.endswith(("word", "tfidf", "count"))]
        self._width = max(self._width, *(batch[name].shape[1] for name in rows))
        wide = {n: np.pad(batch[n], ((0, 0), (0, self._width - batch[n].shape[1]))) for n in rows}
        return batch | wide

    def _codes(self, config: ConfigDict, state: State, ids: np.ndarray) -> np.ndarray:
        """Packed codes of some documents."""
        names = METHODS[config.method].network.fields
        values = {name: 0.0 if name in _DROPOUT else fields.get(config, name) for name in names}
        encode = self._encode(config.method, json.dumps(values))
        stacked = replicate(kept_variables(state), self._devices)
        return run_dataset(
            encode, stacked, self.dataset, ids, batch_size=config.encode_batch_size,
            devices=self._devices, finish=packed_bits,
        )  # fmt: skip

    def _compiled_step(self, structure: str) -> tuple[Callable[[jax.Array], State], Step]:
        """How to begin and to train, for all configs that differ in `_NUMBERS` alone."""
        config = ConfigDict(json.loads(structure))
        config.optimizer.network.update({"learning_rate": 1.0, "schedule": "constant"})
        config.optimizer.network.warmup_steps = 0
        model = build_method(config, self._signature).stages[0].step.__self__

        def with_rate(rate: Any) -> Any:
            return replace(model, tx=optax.chain(model.tx, optax.scale(rate)))

        def step(state: State, batch: Any, now: dict[str, Any]) -> State:
            model = replace(with_rate(now["rate"]), **now["weights"])
            return model.step(state, batch, jax.random.key(config.seed))[0]

        step_fn = jax.pmap(step, axis_name=AXIS, devices=self._devices, donate_argnums=(0,))
        return jax.jit(with_rate(1.0).init), step_fn

    def _compiled(self, method: str, values: str) -> Any:
        """What encodes with a network; shared by all settings that have the same one."""
        config = ConfigDict(fields.nest(json.loads(values)))
        network = METHODS[method].network.build(config, self._signature)
        return compile_encode(network.encode, self._devices)

    def _measured(self, encode: Any, database: np.ndarray) -> Scores:
        """Validation documents as queries; `database` are codes of training documents with tags."""
        query, labels = self.split.validation, self.dataset.labels
        counts = distance_counts(
            encode(query), labels[query], database, labels[self.split.labeled],
            num_bits=self._config.num_bits,
        )  # fmt: skip
        return {
            "precision_at_100": float(precision_at(counts, 100).mean()),
            "map": float(average_precision(counts).mean()),
        }

    def _among_themselves(self, encode: Any) -> float:
        ids = self.split.validation
        codes, labels = encode(ids), self.dataset.labels[ids]
        counts = distance_counts(codes, labels, codes, labels, num_bits=self._config.num_bits)
        return float(average_precision(without_self(counts, labels)).mean())


def _structure(config: ConfigDict) -> str:
    """What of a config decides how its step is compiled, as JSON."""
    config = config.copy_and_resolve_references()
    stand_ins = {name: value for name, value in _NUMBERS.items() if fields.has(config, name)}
    config.update_from_flattened_dict(stand_ins)
    return json.dumps(config.to_dict())


def _weights(model: Any) -> dict[str, Any]:
    """The numbers of a model that its losses are weighed with, by the name of its field."""
    values = {field.name: getattr(model, field.name) for field in fields_of(model)}
    return {
        name: value
        for name, value in values.items()
        if (isinstance(value, float) and name != "ema_decay") or name == "weights"
    }
