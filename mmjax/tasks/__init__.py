"""Tasks: what differs between trainings. Loop, checkpoints, sharding and evaluators know none by name."""

from mmjax.tasks.align import Align
from mmjax.tasks.answer import Answer
from mmjax.tasks.caption import Caption
from mmjax.tasks.choose import Choose
from mmjax.tasks.coca import CoCa
from mmjax.tasks.encode import Encode

TASKS = {"align": Align, "answer": Answer, "caption": Caption, "choose": Choose, "coca": CoCa, "encode": Encode}
