"""Why an input was refused: the closed list of reason codes."""

from enum import StrEnum


class Reason(StrEnum):
    """One code for one cause. The code travels in the header `acgs-reason` of a record on `rejected`."""

    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    NOT_FINITE = "not_finite"
    INTEGER_OUT_OF_RANGE = "integer_out_of_range"
    LONE_SURROGATE = "lone_surrogate"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    HASH_MISSING = "hash_missing"
    HASH_MALFORMED = "hash_malformed"
    HASH_UNKNOWN = "hash_unknown"
    HASH_WITHDRAWN = "hash_withdrawn"
    EXPIRED = "expired"
    TOO_MANY_HEADERS = "too_many_headers"
    HEADERS_TOO_LARGE = "headers_too_large"
    RESERVED_HEADER = "reserved_header"
    RESERVED_NAME = "reserved_name"
    INVALID_DEFINITION = "invalid_definition"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_QUEUE = "unknown_queue"
    OTHER_CONTENT = "other_content"
    OTHER_TENANT = "other_tenant"
    UNKNOWN_WORKFLOW = "unknown_workflow"
    NOT_APPLICABLE = "not_applicable"
    WRONG_TOKEN = "wrong_token"  # noqa: S105  # a reason code
    RESULT_TOO_LARGE = "result_too_large"
    DUPLICATE_ITEM = "duplicate_item"
    INVALID_ITEM = "invalid_item"
    INVALID_POLICY = "invalid_policy"
    EPOCH_PENDING = "epoch_pending"
    TOO_MANY_HELD = "too_many_held"
    UNKNOWN_ITEM = "unknown_item"
    ITEM_CLOSED = "item_closed"
    AFTER_DEADLINE = "after_deadline"
    WRONG_DIGEST = "wrong_digest"
    WRONG_NONCE = "wrong_nonce"
    WRONG_POLICY = "wrong_policy"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_APPROVER = "unknown_approver"
    UNKNOWN_RELAY = "unknown_relay"
    UNKNOWN_SENDER = "unknown_sender"
    UNKNOWN_OPERATOR = "unknown_operator"
    UNKNOWN_KEY = "unknown_key"
    KEY_NOT_YET_VALID = "key_not_yet_valid"
    KEY_EXPIRED = "key_expired"
    KEY_REVOKED = "key_revoked"
    NO_ACCOUNT = "no_account"
    WRONG_TENANT = "wrong_tenant"
    WRONG_ROLE = "wrong_role"
    REQUESTER = "requester"
    OPERATES_REQUESTER = "operates_requester"
    ALREADY_VOTED = "already_voted"
    SAME_PERSON = "same_person"
    REPLAYED = "replayed"
    NO_CHAOS = "no_chaos"
    PROTECTED_TARGET = "protected_target"
    UNKNOWN_TARGET = "unknown_target"
    TARGET_NOT_ALLOWED = "target_not_allowed"
    OUTSIDE_BLAST_RADIUS = "outside_blast_radius"
    TOO_LONG = "too_long"
    TOO_MANY_SCENARIOS = "too_many_scenarios"
    VALID_TOO_LONG = "valid_too_long"
    DUPLICATE_SCENARIO = "duplicate_scenario"
    UNKNOWN_SCENARIO = "unknown_scenario"
    SCENARIO_ENDED = "scenario_ended"
    STOPPED_SINCE = "stopped_since"


MEANINGS: dict[Reason, str] = {
    Reason.NULL_VALUE: "the record has no value",
    Reason.TOO_LARGE: "the value is larger than the contract allows",
    Reason.NOT_UTF8: "the value is not UTF-8 text",
    Reason.NOT_JSON: "the value is not a JSON text",
    Reason.TRUNCATED: "the JSON text ends before it is complete",
    Reason.TOO_DEEP: "objects and arrays are nested deeper than allowed",
    Reason.DUPLICATE_KEY: "an object names a key twice",
    Reason.NOT_FINITE: "a number is NaN, infinite or too large for a float",
    Reason.INTEGER_OUT_OF_RANGE: "an integer is beyond +-(2^53-1)",
    Reason.LONE_SURROGATE: "a string holds half of a surrogate pair",
    Reason.NOT_AN_OBJECT: "the JSON text is not an object",
    Reason.UNKNOWN_FIELD: "a field is not part of the contract",
    Reason.MISSING_FIELD: "a required field is missing",
    Reason.WRONG_TYPE: "a field has another type than the contract says",
    Reason.INVALID_VALUE: "a field's value is outside what the contract allows",
    Reason.HASH_MISSING: "the message names no constitutional hash",
    Reason.HASH_MALFORMED: "the constitutional hash is not 16 lower-case hexadecimal digits",
    Reason.HASH_UNKNOWN: "the constitutional hash is not one that the policy accepts",
    Reason.HASH_WITHDRAWN: "the policy no longer accepts this constitutional hash",
    Reason.EXPIRED: "the message expired before it was read",
    Reason.TOO_MANY_HEADERS: "the record has too many headers",
    Reason.HEADERS_TOO_LARGE: "the record's headers are too large",
    Reason.RESERVED_HEADER: "a header's name begins with acgs- or lane-, which only this system may write",
    Reason.RESERVED_NAME: "the tenant, or the workflow's id, is one that only this system may give",
    Reason.INVALID_DEFINITION: "the workflow's definition cannot run",
    Reason.INVALID_INPUT: "the workflow cannot be started with this input",
    Reason.UNKNOWN_QUEUE: "the definition names a queue of activities that the policy does not have",
    Reason.OTHER_CONTENT: "there is a workflow of this id, started with another definition, input, tags or tenant",
    Reason.OTHER_TENANT: "the workflow belongs to another tenant",
    Reason.UNKNOWN_WORKFLOW: "there is no workflow of this id and run, or it is closed and forgotten",
    Reason.NOT_APPLICABLE: "the workflow, item or recovery, as it stands, does not take this command",
    Reason.WRONG_TOKEN: "the attempt's token is not the one that was commanded",
    Reason.RESULT_TOO_LARGE: "the result is larger than may travel by itself",
    Reason.DUPLICATE_ITEM: "there is, or was, an item with the same message and bytes",
    Reason.INVALID_ITEM: "the held record does not say what its item says it does",
    Reason.INVALID_POLICY: "the proposed policy cannot follow the one in force",
    Reason.EPOCH_PENDING: "owners have signed an epoch that is not in force in this lane yet",
    Reason.TOO_MANY_HELD: "its sender has as many items waiting as the policy allows",
    Reason.UNKNOWN_ITEM: "there is no item of this id, or it is closed and forgotten",
    Reason.ITEM_CLOSED: "the item has been decided",
    Reason.AFTER_DEADLINE: "the item's deadline has passed",
    Reason.WRONG_DIGEST: "the decision is about other bytes than the item's",
    Reason.WRONG_NONCE: "the decision names another nonce than the item's",
    Reason.WRONG_POLICY: "the decision names another policy, or kind of item, than the item does",
    Reason.UNSIGNED: "there is no signature",
    Reason.BAD_SIGNATURE: "the signature does not fit the bytes and the key",
    Reason.UNKNOWN_APPROVER: "the policy in force has no such approver",
    Reason.UNKNOWN_RELAY: "the policy in force has no such callback server",
    Reason.UNKNOWN_SENDER: "the policy in force has no such sender",
    Reason.UNKNOWN_OPERATOR: "the policy in force names no such operator",
    Reason.UNKNOWN_KEY: "the signer has no such key",
    Reason.KEY_NOT_YET_VALID: "the key was not valid yet",
    Reason.KEY_EXPIRED: "the key was not valid any more",
    Reason.KEY_REVOKED: "the key is revoked, and with it all it signed",
    Reason.NO_ACCOUNT: "the approver has no account on a platform that a callback server could speak for",
    Reason.WRONG_TENANT: "the approver has no say on items of this tenant",
    Reason.WRONG_ROLE: "the approver has none of the roles that the item asks for",
    Reason.REQUESTER: "the approver is who asks",
    Reason.OPERATES_REQUESTER: "the approver and who asks count as one person: `operates` joins them",
    Reason.ALREADY_VOTED: "the approver has voted on this item",
    Reason.SAME_PERSON: "somebody who counts as the same person has voted on this item",
    Reason.REPLAYED: "this decision, or this command, has come before",
    Reason.NO_CHAOS: "the policy in force allows no chaos",
    Reason.PROTECTED_TARGET: "chaos is never done to this target, whatever the policy says",
    Reason.UNKNOWN_TARGET: "there is no such agent or queue",
    Reason.TARGET_NOT_ALLOWED: "the policy in force allows no chaos on this target",
    Reason.OUTSIDE_BLAST_RADIUS: "the target is not inside the blast radius that the command names",
    Reason.TOO_LONG: "the scenario would last longer than the policy allows",
    Reason.TOO_MANY_SCENARIOS: "as many scenarios are in force as the policy allows at once",
    Reason.VALID_TOO_LONG: "the command could be replayed for longer than 10 minutes from now",
    Reason.DUPLICATE_SCENARIO: "there is, or was, a scenario of this id",
    Reason.UNKNOWN_SCENARIO: "there is no scenario of this id, or it has ended and is forgotten",
    Reason.STOPPED_SINCE: "everything has been stopped since the command was made",
    Reason.SCENARIO_ENDED: "the scenario has ended already",
}
"""What each code means, in words for people."""
