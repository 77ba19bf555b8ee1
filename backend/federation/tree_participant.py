"""What a participant does with a task of trees: grow, grade, examine, all on its own rows.

Pure: one task and one set of rows give the same bytes, whatever engine brought the task.
"""

from backend.federation.participant import WrongModel
from backend.federation.tasks import ScoreAnswer
from backend.federation.tree_models import TreeModel, read_model
from backend.federation.tree_rows import Part, SiteRows
from backend.federation.tree_tasks import (
    LEAST_LEAF,
    ExamAnswer,
    ExamTask,
    GradeTask,
    GrowTask,
    TreeAnswer,
    TreeSettings,
    TreeTask,
)
from backend.federation.tree_text import read
from backend.federation.trees import bagged, grow, loss, score


class NotWithTheseRows(ValueError):
    """The task asks for what the participant's rows are not there for."""


def answer(task: TreeTask, own: SiteRows) -> TreeAnswer | ScoreAnswer | ExamAnswer:
    """Do what a task asks, with one's own rows.

    Raises:
        NotWithTheseRows: If rows have other features, or leaves would hold too few of them.
        WrongModel: If the model is not the one the task names.
        TreesRefused: If it, or a candidate, is no sound set of trees.
    """
    if own.train.rows.shape[1] != task.settings.features:
        raise NotWithTheseRows(f"rows of {own.train.rows.shape[1]} features")
    if isinstance(task, GrowTask):
        return _grown(task, own)
    if isinstance(task, GradeTask):
        return _graded(task, own.judge)
    if isinstance(task, ExamTask):
        return _examined(task, own)
    raise TypeError(type(task).__name__)


def _grown(task: GrowTask, own: SiteRows) -> TreeAnswer:
    model, settings, part = _model_of(task), task.settings, own.train
    if settings.min_data_in_leaf < LEAST_LEAF:
        raise NotWithTheseRows(f"leaves of fewer than {LEAST_LEAF} examples say too much of them")
    metrics = {"received_loss": part_loss(model, own.judge, settings)}
    trees = grow(model, part.rows, part.targets, settings, participant=task.participant)
    return TreeAnswer(task.participant, trees.text, trees.num_examples, metrics)


def _graded(task: GradeTask, part: Part) -> ScoreAnswer:
    model, settings = _model_of(task), task.settings
    candidates = {
        name: read(text, features=settings.features, most_trees=settings.trees)
        for name, text in task.candidates.items()
    }
    return score(model, candidates, part.rows, part.targets, settings, participant=task.participant)


def _examined(task: ExamTask, own: SiteRows) -> ExamAnswer:
    model, settings = _model_of(task), task.settings
    figures = {
        "judge_loss": part_loss(model, own.judge, settings),
        "together": part_loss(model, own.test, settings),
        "rows_train": float(len(own.train.targets)),
        "rows_judge": float(len(own.judge.targets)),
        "rows_test": float(len(own.test.targets)),
    }
    if own.simple is not None:
        figures["simple_rule"] = loss(own.simple, own.test.targets, settings)
    if task.rounds:
        alone = unfederated(own.train, settings, rounds=task.rounds)
        figures["alone"] = part_loss(alone, own.test, settings)
    return ExamAnswer(task.participant, figures)


def unfederated(part: Part, settings: TreeSettings, *, rounds: int) -> TreeModel:
    """As many rounds of trees on one set of rows, with nobody to judge them."""
    model = TreeModel()
    for _ in range(rounds):
        trees = grow(model, part.rows, part.targets, settings, participant="alone")
        model, _ = bagged(model, [trees], [], settings)
    return model


def part_loss(model: TreeModel, part: Part, settings: TreeSettings) -> float:
    """What the objective lowers, on some rows."""
    return loss(model.raw(part.rows), part.targets, settings)


def _model_of(task: TreeTask) -> TreeModel:
    model = read_model(task.model, task.settings)
    if model.content_hash(task.settings) != task.parent_hash:
        raise WrongModel(f"the model is not {task.parent_hash}")
    return model
