"""Models of the experiments, as pure functions of their parameters."""

from experiments.models.functional import Model, from_nnx
from experiments.models.lenet5 import LeNet5
from experiments.models.lenet300 import LeNet300
from experiments.models.resnet20 import ResNet20
from experiments.models.resnet50 import ResNet50

__all__ = ["LeNet5", "LeNet300", "Model", "ResNet20", "ResNet50", "from_nnx"]
