import pytest

from streams.acceptance import END, START, Choice, Held, Standing, Step, UndecidedError, decide


def standing(
    topic: str = "in", position: int | None = 5, *, begin: int = 0, end: int = 10, control: bool = False
) -> Standing:
    return Standing(topic, position, begin, end, control)


def decided(*standings: Standing, choices: tuple[Choice, ...] = ()) -> dict[str, Step]:
    steps = decide(Held("triage", 0, "why", 3, standings), choices)
    return {step.standing.topic: step for step in steps}


def test_an_overtaken_lane_goes_on_at_the_start_of_the_log() -> None:
    step = decided(standing(position=5, begin=8))["in"]
    assert step.goes_on_at == 8
    assert step.words == "skips offsets 5 to 7 (3), of which 3 are deleted already"


def test_skipping_more_than_was_deleted_says_how_much() -> None:
    step = decided(standing(position=5, begin=8), choices=(Choice(None, END),))["in"]
    assert step.words == "skips offsets 5 to 9 (5), of which 3 are deleted already"


def test_a_log_made_anew_is_read_from_its_start() -> None:
    step = decided(standing(position=50, end=10))["in"]
    assert step.words == "reads offsets 0 to 9 (10) again"


def test_a_lost_position_needs_a_choice() -> None:
    with pytest.raises(UndecidedError, match="--from start"):
        decided(standing(position=None))
    assert decided(standing(position=None), choices=(Choice(None, START),))["in"].goes_on_at == 0


def test_a_general_choice_leaves_alone_what_has_no_gap_and_never_skips_a_policy() -> None:
    steps = decided(
        standing("control", None, control=True),
        standing("fine", 5),
        standing("lost", None),
        choices=(Choice(None, END),),
    )
    assert {topic: step.goes_on_at for topic, step in steps.items()} == {"control": 0, "fine": 5, "lost": 10}


def test_a_choice_for_one_input_counts_for_that_one() -> None:
    steps = decided(standing("a", None), standing("b", None), choices=(Choice("a", 7), Choice(None, END)))
    assert {topic: step.goes_on_at for topic, step in steps.items()} == {"a": 7, "b": 10}


@pytest.mark.parametrize("choice", [Choice(None, 11), Choice("in", 11), Choice("other", START)], ids=str)
def test_a_choice_outside_of_the_log_or_the_lane_is_refused(choice: Choice) -> None:
    with pytest.raises(UndecidedError):
        decided(standing(position=None), choices=(choice,))
