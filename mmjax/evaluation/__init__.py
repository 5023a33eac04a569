"""Evaluators: what a trained model can do. Each runs on any task that has the predictors which it asks for."""

from mmjax.evaluation.answer import Answers
from mmjax.evaluation.caption import Captions
from mmjax.evaluation.foils import Foils
from mmjax.evaluation.groups import Groups
from mmjax.evaluation.retrieval import Retrieval
from mmjax.evaluation.zero_shot import ZeroShot

EVALUATORS = {
    "retrieval": Retrieval,
    "zero_shot": ZeroShot,
    "foils": Foils,
    "groups": Groups,
    "caption": Captions,
    "answer": Answers,
}
