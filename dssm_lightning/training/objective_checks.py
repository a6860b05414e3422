"""Whether the data have what a loss of several objectives, of ratings or of all likes learns from."""

from __future__ import annotations

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.losses import Loss
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.suggestions import did_you_mean


def check_objectives(loss: Loss, data: RetrievalData) -> None:
    """Refuse a loss of objectives or ratings that the data do not declare, before they are prepared.

    Objectives of the data that no loss names are only measured.

    Raises:
        UserError: such a loss; a rating that no loss predicts; a loss of all likes without ``mask_known``.
    """
    declared = [name for name, _ in data.recipe.objectives]
    for name in loss.objectives:
        if name not in declared:
            found = f"there are {', '.join(declared)}" if declared else "there are none"
            raise UserError(
                f"model.loss: data.objectives has no objective {name!r}; {found}{did_you_mean(name, declared)}"
            )
    if loss.uses_likes and not data.mask_known:
        raise UserError(
            f"model.loss: {type(loss).__name__} learns from all likes of a query, and data.mask_known is false; leave "
            "it out"
        )
    rating = data.recipe.rating
    if loss.uses_rating and rating is None:
        raise UserError("model.loss: RatingHead predicts a column of numbers: name it by data.rating")
    if rating is not None and not loss.uses_rating:
        raise UserError(
            f"data.rating is {rating!r}, and model.loss {type(loss).__name__} predicts none: put a RatingHead beside "
            "it, in a WeightedSum or in Objectives, or leave out data.rating"
        )


def check_objective_weights(loss: Loss, data: RetrievalData) -> None:
    """Refuse a loss of an objective whose positives among the training rows all have weight 0, once data are prepared.

    Raises:
        UserError: nothing would teach this objective.
    """
    interactions, names = data.data.interactions, data.data.objectives
    if interactions.weight is None or interactions.objectives is None:
        return
    rows = data.assembler.rows
    counts = gathered(interactions.weight, rows) > 0
    for name in loss.objectives:
        positives = gathered(interactions.objectives[:, names.index(name)], rows)
        if not bool((positives & counts).any()):
            raise UserError(
                f"model.loss: the weights of all {int(positives.sum()):,} training rows that are positives of "
                f"objective {name!r} are 0, so that nothing would teach it: look at the weight column, or leave the "
                "objective out of the losses"
            )
