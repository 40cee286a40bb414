"""Each tower's optimizer: FTRL with L1 for the wide one, AdaGrad for the deep one, each variable owned exactly once.

The two shipped optimizers see the gradient of the *summed* loss, so that accumulators, L1 and L2 mean the same at every
batch size; every other optimizer sees the gradient of the mean loss. Gradients of a table's rows are summed per distinct row
before any adaptive update: `EmbeddingTable` hands them over so, and where that is not certain it is done here. Rows are then
read, updated and written back; TensorFlow's own sparse kernels take a twentieth of a step longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from widedeep._keras import tf, tf_keras, tfrs
from widedeep.errors import SchemaError, did_you_mean
from widedeep.schema import Optimizer

legacy = tf_keras.optimizers.legacy


class _RowUpdates:
    """What our optimizers share: `distinct`, while it is set, promises that gradients of rows are summed per distinct row."""

    distinct = False

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **kwargs):
        if self.distinct and tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return self._resource_apply_sparse(grad, handle, indices, **kwargs)
        return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices, **kwargs)


def _write(indices: tf.Tensor, *updates: tuple[tf.Variable, tf.Tensor]) -> tf.Operation:
    """Put these rows in their places."""
    return tf.group(*(variable.scatter_update(tf.IndexedSlices(rows, indices)) for variable, rows in updates))


class FTRL(_RowUpdates, legacy.Ftrl):
    """Follow the regularized leader, per coordinate: w = −(z − sign(z)·l1) / (√n / rate + 2·l2) where |z| > l1, else 0.

    `n` sums squared gradients from `accumulator` on; gradients are of the summed loss.
    Source: McMahan et al. 2013, "Ad click prediction: a view from the trenches", §3.1.

    >>> weight = tf.Variable([0.0])
    >>> _ = FTRL(0.1, accumulator=0.1).apply_gradients([(tf.constant([-0.5]), weight)])
    >>> round(float(weight[0]), 7)
    0.0845154
    """

    of_summed_loss = True

    def __init__(self, rate: float = 0.05, accumulator: float = 0.1, l1: float = 0.0, l2: float = 0.0,
                 name: str = "FTRL"):
        super().__init__(rate, initial_accumulator_value=accumulator, l1_regularization_strength=l1,
                         l2_regularization_strength=l2, name=name)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        coefficients = apply_state[(var.device, var.dtype.base_dtype)]
        rate, l1 = coefficients["lr_t"], coefficients["l1_regularization_strength"]
        squares, linear = self.get_slot(var, "accumulator"), self.get_slot(var, "linear")
        before = tf.gather(squares, indices)
        n = before + tf.square(grad)
        root = tf.sqrt(n)
        z = tf.gather(linear, indices) + grad - (root - tf.sqrt(before)) / rate * tf.gather(var, indices)
        w = (tf.clip_by_value(z, -l1, l1) - z) / (root / rate + 2 * coefficients["l2_regularization_strength"])
        return _write(indices, (var, w), (squares, n), (linear, z))


class AdaGrad(_RowUpdates, legacy.Adagrad):
    """Each coordinate's rate falls with its own squared gradients: w ← w − rate · g / √(accumulator + Σg²).

    Over the first `warmup` steps the rate of *dense* variables rises linearly to `rate`: the first step of a summed loss is
    about rate × sign, and would kill many rectified units. Rows of a table are not warmed up.
    Source: Duchi et al. 2011, "Adaptive subgradient methods for online learning and stochastic optimization".

    >>> weight = tf.Variable([0.0])
    >>> _ = AdaGrad(0.3, accumulator=0.1).apply_gradients([(tf.constant([-1.0]), weight)])
    >>> round(float(weight[0]), 6)
    0.286039
    """

    of_summed_loss = True

    def __init__(self, rate: float = 0.05, accumulator: float = 0.1, warmup: int = 0, name: str = "AdaGrad"):
        super().__init__(rate, initial_accumulator_value=accumulator, name=name)
        self.warmup = warmup

    def _resource_apply_dense(self, grad, var, apply_state=None):
        coefficients = apply_state[(var.device, var.dtype.base_dtype)]
        done = tf.cast(self.iterations + 1, var.dtype) / max(1, self.warmup)
        return tf.raw_ops.ResourceApplyAdagradV2(
            var=var.handle, accum=self.get_slot(var, "accumulator").handle, lr=coefficients["lr_t"] * tf.minimum(done, 1.0),
            epsilon=coefficients["epsilon"], grad=grad, use_locking=self._use_locking)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        coefficients = apply_state[(var.device, var.dtype.base_dtype)]
        squares = self.get_slot(var, "accumulator")
        n = tf.gather(squares, indices) + tf.square(grad)
        w = tf.gather(var, indices) - coefficients["lr_t"] * grad / (tf.sqrt(n) + coefficients["epsilon"])
        return _write(indices, (var, w), (squares, n))


def make(settings: Optimizer):
    """The optimizer that the settings ask for, for a tower's variables.

    Raises: SchemaError for a name that tf_keras does not know, or options that it does not take.

    >>> type(make(Optimizer("sgd", rate=0.1))).__name__
    'SGD'
    """
    if settings.optimizer == "ftrl":
        return FTRL(settings.rate, settings.accumulator, settings.l1, settings.l2)
    if settings.optimizer == "adagrad":
        return AdaGrad(settings.rate, settings.accumulator, settings.warmup)
    known = _named(tf_keras.optimizers, tf_keras.optimizers.Optimizer) | _named(legacy, legacy.Optimizer)
    name, options = settings.optimizer.lower(), dict(settings.options)
    if name not in known:
        raise SchemaError(f"An optimizer is ftrl, adagrad, or one of tf_keras's: {sorted(known)}. Got {settings.optimizer!r}."
                          + did_you_mean(name, known))
    try:
        return known[name](learning_rate=settings.rate, **options)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"Optimizer {settings.optimizer!r} does not take the options {options}: {error}.") from error


def _named(module: object, base: type) -> dict[str, type]:
    """A module's optimizers by lower-case name; of those with two versions the older one has the faster sparse update."""
    return {name.lower(): kind for name, kind in vars(module).items()
            if isinstance(kind, type) and issubclass(kind, base) and kind is not base and "Optimizer" not in name}


class TowerOptimizers(tfrs.experimental.optimizers.CompositeOptimizer):
    """One optimizer per tower. A variable owned by none or by two is an error, and so is a tower without variables."""

    def __init__(self, towers: Sequence[tf_keras.layers.Layer], optimizers: Sequence[tf_keras.optimizers.Optimizer]):
        for tower in towers:
            if not tower.trainable_variables:
                raise SchemaError(f"Tower {tower.name!r} has no trainable variable, so its optimizer would do nothing.")
        self.owned = list(zip(optimizers, towers, strict=True))
        super().__init__([(optimizer, _variables_of(tower)) for optimizer, tower in self.owned])

    def apply_distinct(self, gradients: Iterable[tuple]) -> None:
        """Apply gradients of one pass through the towers, in which each table was gathered once: its rows are distinct.

        In those of several passes a row may stand twice: `apply_gradients` sums them first.
        """
        ours = [one for one, _ in self.owned if isinstance(one, _RowUpdates)]
        for one in ours:
            one.distinct = True
        try:
            self.apply_gradients(gradients)
        finally:
            for one in ours:
                one.distinct = False

    @property
    def weights(self) -> list[tf.Variable]:
        """All variables of all optimizers, of Keras's old kind and of its new."""
        return [v for one, _ in self.owned for v in (one.weights if isinstance(one, legacy.Optimizer) else one.variables)]


def _variables_of(tower: tf_keras.layers.Layer) -> Callable[[], list[tf.Variable]]:
    return lambda: tower.trainable_variables


def as_expected(optimizer, gradients: Iterable[tuple], weight: tf.Tensor) -> list[tuple]:
    """(gradient of the summed loss, variable) pairs as each variable's optimizer expects them: as they are, or of the mean.

    `weight` () is the total weight of the batch; `optimizer` is `TowerOptimizers` or one optimizer for everything.
    """
    if isinstance(optimizer, TowerOptimizers):
        summed = {v.ref() for one, tower in optimizer.owned if hasattr(one, "of_summed_loss")
                  for v in tower.trainable_variables}
        return [(g if v.ref() in summed else _divide(g, weight), v) for g, v in gradients]
    return [(g if hasattr(optimizer, "of_summed_loss") else _divide(g, weight), v) for g, v in gradients]


def _divide(gradient: tf.Tensor | tf.IndexedSlices | None, weight: tf.Tensor) -> tf.Tensor | tf.IndexedSlices | None:
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values / weight, gradient.indices, gradient.dense_shape)
    return gradient / weight


def state_of(optimizer, weights: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    """An optimizer's own variables by name, made if they do not exist yet: `<tower>:iterations`, `<tower>:<weight>/<slot>`.

    `weights` are the model's trainable variables by name.
    """
    if isinstance(optimizer, TowerOptimizers):
        found: dict[str, tf.Variable] = {}
        for one, tower in optimizer.owned:
            mine = {v.ref() for v in tower.trainable_variables}
            own = state_of(one, {name: v for name, v in weights.items() if v.ref() in mine})
            found |= {f"{tower.name}:{name}": v for name, v in own.items()}
        return found
    if isinstance(optimizer, legacy.Optimizer):
        optimizer._create_all_weights(list(weights.values()))
        found = {"iterations": optimizer.iterations} | {
            f"{name}/{slot}": optimizer.get_slot(v, slot) for name, v in weights.items() for slot in optimizer.get_slot_names()}
        return found | {v.name: v for v in optimizer.weights if not any(v is known for known in found.values())}
    optimizer.build(list(weights.values()))
    return {f"{i}:{v.name}" if v is not optimizer.iterations else "iterations": v for i, v in enumerate(optimizer.variables)}
