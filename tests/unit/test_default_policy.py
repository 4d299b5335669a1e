"""The policy that ships."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from schemas.policy import VERB_POINTS, Policy, Tool, Verb, from_toml, published
from schemas.weights import EFFECT_POINTS, Effect, SensitiveTarget, Weights
from streams.policies import default_policy, default_policy_text

POLICY = default_policy()


def test_the_default_policy_is_the_first_epoch_of_the_known_generation() -> None:
    assert POLICY.epoch == 1
    assert [accepted.hash for accepted in POLICY.accepted_hashes] == ["cdd01ef066bc6cf2"]


def test_its_tiers_ask_three_for_severe_and_two_for_high() -> None:
    severe, high = POLICY.tiers_from_the_top

    assert (severe.at_least, severe.approvals, severe.deadline) == (9_000, 3, timedelta(hours=4))
    assert severe.roles == ("lead", "security", "on-call")
    assert (high.at_least, high.approvals, high.deadline) == (8_000, 2, timedelta(hours=24))
    assert high.roles == ("security", "compliance")


def test_it_can_be_published_and_read_back() -> None:
    assert published(POLICY.canonical()).policy == POLICY


def test_it_is_written_as_people_edit_it() -> None:
    assert from_toml(default_policy_text()) == POLICY
    assert sum(line.startswith("#") for line in default_policy_text().splitlines()) > 30


def test_its_example_of_chaos_can_be_used_as_it_stands() -> None:
    lines = default_policy_text().splitlines()
    first = lines.index("# [chaos]")
    example = [line.removeprefix("# ") for line in lines[first : first + 4]]
    limits = from_toml("\n".join([*lines[:first], *example, *lines[first + 4 :]])).chaos
    assert limits is not None
    assert (limits.targets, limits.max_duration) == (("agent:triage", "queue:*", "service:*"), timedelta(minutes=2))
    assert POLICY.chaos is None


def test_it_knows_the_tools_of_software_agents() -> None:
    tools = {"submit", "end", "noop", "search", "open_file", "edit_file", "create_file", "run_command"}

    assert tools <= POLICY.tools.keys()


def test_every_verb_and_effect_has_points() -> None:
    assert set(POLICY.verb_points) == set(Verb) == set(VERB_POINTS)
    assert set(POLICY.weights.effects) == set(Effect) == set(EFFECT_POINTS)


def test_a_document_names_only_the_points_that_it_changes() -> None:
    text = default_policy_text().replace("[weights.effects]", "[weights.effects]\npush = 8500")

    weights = from_toml(text).weights
    assert weights.effects[Effect.PUSH] == 8_500
    assert weights.effects[Effect.DESTROY] == EFFECT_POINTS[Effect.DESTROY]


def test_an_effect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        Weights.model_validate({"effects": {"explode": 1}})


def test_a_tool_may_name_one_target_or_several() -> None:
    assert Tool(verb=Verb.READ, target_argument="path").target_arguments == ("path",)
    assert Tool(verb=Verb.READ, target_argument=("path", "file")).target_arguments == ("path", "file")
    assert Tool(verb=Verb.READ).is_plain
    assert not Tool(verb=Verb.READ, command_argument="command").is_plain


def test_a_policy_without_weights_has_the_built_in_ones() -> None:
    document = POLICY.model_dump(mode="json", exclude={"weights", "verb_points"})

    assert Policy.model_validate(document, strict=False).weights == Weights()


def test_a_sensitive_target_is_named() -> None:
    with pytest.raises(ValidationError):
        SensitiveTarget(name="", words=("x",))
