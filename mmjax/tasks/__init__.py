"""Tasks: what differs between trainings. Loop, checkpoints, sharding and evaluators know none by name."""

from mmjax.tasks.align import Align

TASKS = {"align": Align}
