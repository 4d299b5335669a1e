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
    INVALID_DEFINITION = "invalid_definition"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_QUEUE = "unknown_queue"
    OTHER_CONTENT = "other_content"
    OTHER_TENANT = "other_tenant"
    UNKNOWN_WORKFLOW = "unknown_workflow"
    NOT_APPLICABLE = "not_applicable"
    WRONG_TOKEN = "wrong_token"  # noqa: S105  # a reason code
    RESULT_TOO_LARGE = "result_too_large"


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
    Reason.INVALID_DEFINITION: "the workflow's definition cannot run",
    Reason.INVALID_INPUT: "the workflow cannot be started with this input",
    Reason.UNKNOWN_QUEUE: "the definition names a queue of activities that the policy does not have",
    Reason.OTHER_CONTENT: "there is a workflow of this id, started with another definition, input, tags or tenant",
    Reason.OTHER_TENANT: "the workflow belongs to another tenant",
    Reason.UNKNOWN_WORKFLOW: "there is no workflow of this id and run, or it is closed and forgotten",
    Reason.NOT_APPLICABLE: "the workflow, as it stands, does not take this command",
    Reason.WRONG_TOKEN: "the attempt's token is not the one that was commanded",
    Reason.RESULT_TOO_LARGE: "the result is larger than may travel by itself",
}
"""What each code means, in words for people."""
