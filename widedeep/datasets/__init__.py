"""Known public sets: a table, a ready schema with crosses, the standard split, and whom to cite.

Adult and MNIST come with a checkout; outside one their loaders take `path=`. The others must be got from those who give them
out, under their terms; the loaders say where, and nothing is ever fetched.
"""

from __future__ import annotations

from widedeep.datasets.adult import load_adult
from widedeep.datasets.avazu import load_avazu
from widedeep.datasets.criteo import load_criteo
from widedeep.datasets.dataset import Dataset
from widedeep.datasets.frappe import load_frappe
from widedeep.datasets.mnist import load_mnist
from widedeep.datasets.movielens import load_movielens, load_movielens_likes

__all__ = ["Dataset", "load_adult", "load_avazu", "load_criteo", "load_frappe", "load_mnist", "load_movielens",
           "load_movielens_likes"]
