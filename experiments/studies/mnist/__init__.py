"""The paper's results on MNIST, and what explains them."""

from experiments.studies.mnist.figures import FIGURES
from experiments.studies.mnist.runs import entries
from experiments.studies.mnist.tables import tables
from experiments.studies.study import Study

STUDY = Study(entries(), tables, FIGURES)
