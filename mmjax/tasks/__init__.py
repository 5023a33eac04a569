"""Tasks: what differs between trainings. Loop, checkpoints, sharding and evaluators know none by name."""

from mmjax.tasks.align import Align
from mmjax.tasks.encode import Encode

TASKS = {"align": Align, "encode": Encode}
