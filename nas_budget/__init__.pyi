from nas_budget.arch.budget import Budget as Budget
from nas_budget.arch.budget import Margin as Margin
from nas_budget.arch.budget import Verdict as Verdict
from nas_budget.arch.budget import parse_quantity as parse_quantity
from nas_budget.arch.cost import Cost as Cost
from nas_budget.arch.cost import cost as cost
from nas_budget.arch.cost_table import cost_table as cost_table
from nas_budget.arch.cost_table import fits_table as fits_table
from nas_budget.arch.explain import Explanation as Explanation
from nas_budget.arch.explain import explain as explain
from nas_budget.arch.fit import Fitted as Fitted
from nas_budget.arch.fit import fit as fit
from nas_budget.arch.layers import Layer as Layer
from nas_budget.arch.layers import layers as layers
from nas_budget.arch.spec import ResNetSpec as ResNetSpec
from nas_budget.errors import NasBudgetError as NasBudgetError
from nas_budget.search.pruners.front import FrontPruner as FrontPruner
from nas_budget.space.counting import count_fitting as count_fitting
from nas_budget.space.counting import count_networks as count_networks
from nas_budget.space.explore import Exploration as Exploration
from nas_budget.space.explore import explore as explore
from nas_budget.space.feasible import FeasibleSpace as FeasibleSpace
from nas_budget.space.sampling import sample as sample
from nas_budget.space.space import SearchSpace as SearchSpace
from nas_budget.train.data.from_python import dataset_from as dataset_from
from nas_budget.train.data.open import open_dataset as open_dataset
from nas_budget.train.engine.model import build as build
from nas_budget.train.engine.train_network import Trained as Trained
from nas_budget.train.engine.train_network import train_network as train_network
from nas_budget.train.optim.recipe import Recipe as Recipe
from nas_budget.train.profile.scale_to_budget import Scaled as Scaled
from nas_budget.train.profile.scale_to_budget import float_range as float_range
from nas_budget.train.profile.scale_to_budget import scale_to_budget as scale_to_budget

__version__: str
__all__: list[str]
