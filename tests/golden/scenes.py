"""Every scene of the corpus."""

from tests.golden import scenes_chaos, scenes_deliberation, scenes_spine, scenes_workflows

ALL = (*scenes_spine.SCENES, *scenes_deliberation.SCENES, *scenes_workflows.SCENES, *scenes_chaos.SCENES)
