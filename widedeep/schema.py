"""Which columns feed which tower, and how the towers are trained: all that a user configures, in one TOML file."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from widedeep import columns as cols
from widedeep.columns import Bucketized, Column, Crossed, Numeric
from widedeep.errors import SchemaError, did_you_mean, unknown_names

LABEL_KINDS = ("binary", "regression")
SPLITS = ("random", "time", "group")
BINARY_METRICS = ("auc", "logloss", "accuracy", "normalized_entropy")
REGRESSION_METRICS = ("rmse", "mae", "r2")


@dataclass(frozen=True)
class Label:
    """What is predicted: `binary` (is the value `positive`?) or `regression` (a number).

    `negative` may stay open: the one other value found in the training rows. Text "1" in a table is not the number 1.

    >>> Label("income", positive=">50K").kind
    'binary'
    """

    column: str
    kind: str = "binary"
    positive: str | int | float | bool = 1
    negative: str | int | float | bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in LABEL_KINDS:
            raise SchemaError(f"label: kind must be one of {list(LABEL_KINDS)}. Got {self.kind!r}.")


@dataclass(frozen=True)
class Wide:
    """The wide tower: one weight per id of each of its columns, one per numeric value."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deep:
    """The deep tower: an embedding per id, then `hidden` layers of these many units.

    `width` of an embedding: a number, or "fourth-root": ⌈6 · ids^¼⌉ for each column.
    """

    columns: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    width: int | str = 16

    def __post_init__(self) -> None:
        if any(not isinstance(units, int) or units < 1 for units in self.hidden):
            raise SchemaError(f"[deep] hidden is a list of whole numbers of units. Got {list(self.hidden)}.")
        if not 0 <= self.dropout < 1:
            raise SchemaError(f"[deep] dropout must lie in [0, 1). Got {self.dropout}.")
        if self.width != "fourth-root" and (not isinstance(self.width, int) or self.width < 1):
            raise SchemaError(f"[deep] width is a whole number of at least 1, or 'fourth-root'. Got {self.width!r}.")


@dataclass(frozen=True)
class Optimizer:
    """One tower's optimizer: `ftrl` and `adagrad` are ours (gradient of the summed loss); any other name is tf_keras's.

    `accumulator` is where squared gradients start, `l1` and `l2` are FTRL's penalties per example, `warmup` the steps over
    which AdaGrad's rate on dense variables rises to `rate`; `options` go to a tf_keras optimizer as they are.
    """

    optimizer: str = "ftrl"
    rate: float = 0.05
    accumulator: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    warmup: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise SchemaError(f"An optimizer's rate must be above 0. Got {self.rate}.")
        if not self.accumulator > 0:
            raise SchemaError(f"An optimizer's accumulator must start above 0. Got {self.accumulator}.")
        if self.l1 < 0 or self.l2 < 0 or self.warmup < 0:
            raise SchemaError(f"l1, l2 and warmup must not be negative. Got l1={self.l1}, l2={self.l2}, warmup={self.warmup}.")
        for name, where in (("l1", ("ftrl",)), ("l2", ("ftrl",)), ("warmup", ("adagrad",))):
            if getattr(self, name) and self.optimizer not in where:
                raise SchemaError(f"{name} is a setting of {where[0]}. Got optimizer={self.optimizer!r} with "
                                  f"{name}={getattr(self, name)}: leave it out, or use `options`.")
        if self.options and self.optimizer in ("ftrl", "adagrad"):
            raise SchemaError(f"options go to tf_keras's own optimizers. Got {dict(self.options)} for {self.optimizer!r}.")


@dataclass(frozen=True)
class Training:
    """How long and how fast: batch, epochs, early stopping, each tower's optimizer.

    `metric` of the validation rows decides which epoch is best (auc for binary labels, rmse for regression, unless set);
    after `patience` epochs without a better one training stops. `split` says how validation rows are drawn.
    """

    batch: int = 256
    epochs: int = 30
    patience: int = 3
    metric: str = ""
    split: str = "random"
    wide: Optimizer = Optimizer("ftrl", rate=0.05, l1=0.0)
    deep: Optimizer = Optimizer("adagrad", rate=0.05, warmup=50)

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "patience"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise SchemaError(f"[training] {name} must be a whole number of at least 1. Got {getattr(self, name)!r}.")
        if self.split not in SPLITS:
            raise SchemaError(f"[training] split must be one of {list(SPLITS)}. Got {self.split!r}.")


@dataclass(frozen=True)
class Schema:
    """A table's meaning: its label, its columns by name, the two towers' lists and their training.

    Text equal to one of `missing` counts as missing in every feature column. `group` is the unit of group metrics and of
    group splits, `time` of time splits, `weight` a number of at least 0 per row.

    >>> schema = Schema(Label("bought"), {"age": Numeric()}, deep=Deep(("age",)))
    >>> Schema.from_toml(schema.to_toml()) == schema
    True
    """

    label: Label
    columns: Mapping[str, Column]
    wide: Wide = Wide()
    deep: Deep = Deep()
    training: Training = Training()
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))
        default = "auc" if self.label.kind == "binary" else "rmse"
        object.__setattr__(self, "training", replace(self.training, metric=self.training.metric or default))
        _check_towers(self)
        _check_crosses(self)
        _check_metric(self)
        for role in ("group", "time"):
            if self.training.split == role and getattr(self, role) is None:
                raise SchemaError(f"[training] split = {role!r} needs a column: set `{role}` at the top of the schema.")

    def __reduce__(self) -> tuple[Any, ...]:
        return Schema.from_toml, (self.to_toml(),)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def used(self) -> dict[str, Column]:
        """The columns a tower reads and the sources of its crosses, in declared order.

        >>> schema = Schema(Label("y"), {"a": Numeric(), "b": Numeric()}, deep=Deep(("b",)))
        >>> list(schema.used)
        ['b']
        """
        names = {*self.wide.columns, *self.deep.columns}
        names |= {s for n in names if isinstance(self.columns[n], Crossed) for s in self.columns[n].sources}
        return {name: column for name, column in self.columns.items() if name in names}

    @property
    def features(self) -> list[str]:
        """The table's columns that the used columns read, each once.

        >>> Schema(Label("y"), {"a": Numeric("age"), "b": Numeric()}, wide=Wide(("a",))).features
        ['age']
        """
        return list(dict.fromkeys(s for n, c in self.used.items() for s in cols.table_columns(c, n)))

    @property
    def roles(self) -> list[str]:
        """The table's columns that are no features: label, weight, group, time, as far as declared."""
        return list(dict.fromkeys(c for c in (self.label.column, self.weight, self.group, self.time) if c))

    @property
    def fingerprint(self) -> str:
        """sha256 of the schema's content; equal for equal schemas."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()

    def only(self, tower: str) -> Schema:
        """The same schema with one tower: the `wide` or the `deep` model of a comparison.

        >>> schema = Schema(Label("y"), {"a": Numeric()}, Wide(("a",)), Deep(("a",)))
        >>> schema.only("wide").deep.columns
        ()
        """
        if tower not in ("wide", "deep"):
            raise SchemaError(f"only: the towers are 'wide' and 'deep'. Got {tower!r}.")
        other = "deep" if tower == "wide" else "wide"
        return replace(self, **{other: replace(getattr(self, other), columns=())})

    @classmethod
    def from_toml(cls, text: str, where: str = "schema") -> Schema:
        """The schema that a TOML text declares; `where` names the text in messages.

        Raises: SchemaError for text that is not TOML, and for unknown or impossible settings.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SchemaError(f"{where} is not TOML: {error}.") from error
        try:
            return _schema(data)
        except SchemaError as error:
            raise SchemaError(f"{where}: {error}") from error

    @classmethod
    def read(cls, path: str | os.PathLike) -> Schema:
        """The schema in a TOML file. Raises: SchemaError, naming the file."""
        try:
            with open(path, encoding="utf-8") as file:
                return cls.from_toml(file.read(), os.fspath(path))
        except OSError as error:
            raise SchemaError(f"The schema {os.fspath(path)!r} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise SchemaError(f"The schema {os.fspath(path)!r} is not UTF-8 text: {error}.") from error

    def to_toml(self, comments: Mapping[str, str] = MappingProxyType({})) -> str:
        """The schema as TOML. `comments` by key ("age", "wide.columns", …) are written beside what they explain."""
        import tomlkit

        document = tomlkit.document()
        _write(document, _plain(self), comments, "")
        return tomlkit.dumps(document)


def _check_towers(schema: Schema) -> None:
    if not schema.wide.columns and not schema.deep.columns:
        raise SchemaError("A schema needs at least one tower: list columns under [wide] or [deep].")
    for tower in ("wide", "deep"):
        names = getattr(schema, tower).columns
        if missing := [n for n in names if n not in schema.columns]:
            raise SchemaError(unknown_names(f"[{tower}] lists columns that [columns] lacks", missing, schema.columns))
        if len(set(names)) < len(names):
            raise SchemaError(f"[{tower}] lists a column twice: {[n for n in set(names) if names.count(n) > 1]}.")
    for name in schema.features:
        if name in schema.roles and name != schema.group:
            raise SchemaError(f"{name!r} is the label, weight or time and must not be a feature. Take it out of the columns.")


def _check_crosses(schema: Schema) -> None:
    for name, column in schema.columns.items():
        if not isinstance(column, Crossed):
            continue
        if missing := [s for s in column.sources if s not in schema.columns]:
            raise SchemaError(unknown_names(f"Crossed{column.sources}, column {name!r}, names columns that [columns] lacks",
                                            missing, schema.columns))
        for source in column.sources:
            if isinstance(schema.columns[source], (Numeric, Crossed)):
                kind = type(schema.columns[source]).__name__
                raise SchemaError(f"Column {name!r} crosses {source!r}, which is {kind}; crosses take Categorical, Hashed and "
                                  f"Bucketized columns. " + ("Declare a Bucketized column over it and cross that."
                                                             if kind == "Numeric" else "List its sources instead."))


def _check_metric(schema: Schema) -> None:
    known = BINARY_METRICS if schema.label.kind == "binary" else REGRESSION_METRICS
    if schema.training.metric not in known:
        raise SchemaError(f"[training] metric of a {schema.label.kind} label must be one of {list(known)}. "
                          f"Got {schema.training.metric!r}.{did_you_mean(schema.training.metric, known)}")


def _plain(schema: Schema) -> dict[str, Any]:
    """The schema as nested plain values, in the order in which a reader wants them; what is unset is left out."""
    label = {k: v for k, v in asdict(schema.label).items() if v is not None and (k != "positive" or schema.label.kind == "binary")}
    plain: dict[str, Any] = {k: getattr(schema, k) for k in ("weight", "group", "time") if getattr(schema, k)}
    if schema.missing:
        plain["missing"] = list(schema.missing)
    plain["label"] = label
    plain["columns"] = {name: cols.to_dict(column) for name, column in schema.columns.items()}
    plain["wide"] = {"columns": list(schema.wide.columns)}
    plain["deep"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(schema.deep).items()}
    training = {k: v for k, v in asdict(schema.training).items() if k not in ("wide", "deep")}
    plain["training"] = training
    for tower in ("wide", "deep"):
        plain["training"][tower] = _plain_optimizer(getattr(schema.training, tower))
    return plain


def _plain_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    plain: dict[str, Any] = {"optimizer": optimizer.optimizer, "rate": optimizer.rate}
    ours = {"ftrl": ("accumulator", "l1", "l2"), "adagrad": ("accumulator", "warmup")}
    plain |= {name: getattr(optimizer, name) for name in ours.get(optimizer.optimizer, ())}
    return plain | ({"options": dict(optimizer.options)} if optimizer.options else {})


def _build(kind: type, settings: Any, where: str) -> Any:
    """A dataclass from plain settings; unknown keys and wrong types are errors that say where."""
    if not isinstance(settings, dict):
        raise SchemaError(f"[{where}] is a table of settings. Got {settings!r}.")
    known = {f.name: f for f in fields(kind)}
    if extra := [key for key in settings if key not in known]:
        raise SchemaError(unknown_names(f"[{where}] has unknown settings", extra, known))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    for name, value in values.items():
        _check_type(where, name, value, str(known[name].type))
    try:
        return kind(**values)
    except TypeError as error:
        raise SchemaError(f"[{where}] {error}") from error


def _check_type(where: str, name: str, value: Any, declared: str) -> None:
    kinds = {"tuple": "a list", "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text",
             "Mapping": "a table"}
    fits = {"tuple": lambda v: isinstance(v, tuple), "bool": lambda v: isinstance(v, bool),
            "int": lambda v: isinstance(v, int) and not isinstance(v, bool), "str": lambda v: isinstance(v, str),
            "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "Mapping": lambda v: isinstance(v, dict)}
    allowed = [k for k in kinds if k in declared.replace("[", " ").replace("|", " ").split()]
    if allowed and not any(fits[k](value) for k in allowed):
        raise SchemaError(f"[{where}] {name} must be {' or '.join(kinds[k] for k in allowed)}. Got {value!r}.")


def _schema(data: dict[str, Any]) -> Schema:
    known = {f.name for f in fields(Schema)}
    if extra := [key for key in data if key not in known]:
        raise SchemaError(unknown_names("unknown settings at the top", extra, known))
    for needed in ("label", "columns"):
        if not isinstance(data.get(needed), dict):
            raise SchemaError(f"[{needed}] must be there, as a table. Got {data.get(needed)!r}.")
    data = dict(data)
    data["label"] = _build(Label, data["label"], "label")
    data["columns"] = {name: cols.from_dict(name, settings) for name, settings in data["columns"].items()}
    data["wide"] = _build(Wide, data.get("wide", {}), "wide")
    data["deep"] = _build(Deep, data.get("deep", {}), "deep")
    training = data.get("training", {})
    if isinstance(training, dict):
        towers = {t: _optimizer(t, training[t]) for t in ("wide", "deep") if t in training}
        plain = {k: v for k, v in training.items() if k not in towers}
        training = replace(_build(Training, plain, "training"), **towers)
    data["training"] = training
    return _build(Schema, data, "schema")


def _optimizer(tower: str, settings: Any) -> Optimizer:
    default = getattr(Training(), tower)
    if isinstance(settings, dict) and settings.get("optimizer", default.optimizer) == default.optimizer:
        settings = _plain_optimizer(default) | settings
    return _build(Optimizer, settings, f"training.{tower}")


def _write(table: Any, plain: dict[str, Any], comments: Mapping[str, str], prefix: str) -> None:
    """Fill a tomlkit table: columns as inline tables, sections as sections, comments where they belong."""
    import tomlkit

    for key, value in plain.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and (prefix in ("columns.", "training.wide.", "training.deep.")):
            inline = tomlkit.inline_table()
            inline.update(value)
            table.add(key, inline)
        elif isinstance(value, dict):
            section = tomlkit.table()
            if path in comments:
                section.add(tomlkit.comment(comments[path]))
            _write(section, value, comments, f"{path}.")
            table.add(key, section)
            continue
        else:
            table.add(key, value)
        if path in comments:
            table[key].comment(comments[path])
