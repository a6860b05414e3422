"""Whether the data have what a loss of several objectives, of ratings or of all likes learns from."""

from __future__ import annotations

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.losses import Loss
from dssm_lightning.utils.errors import UserError
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
