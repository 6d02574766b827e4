"""How a client and a process talk: one line of JSON each way, of bounded size."""

import json
import sys
from typing import Any

#: The most bytes of a request and of an answer, and the most records of one kind in one answer.
MOST_REQUEST = 4096
MOST_ANSWER = 1024 * 1024
MOST_RECORDS = 500
#: The most bytes of a Unix socket's path, with the zero at its end.
MOST_PATH = 108 if sys.platform == "linux" else 104


class NotUnderstood(Exception):
    """What came is not what the other side sends; says how it should be."""


def encode_request(command: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"


def decode_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """The command and its arguments; raises ``NotUnderstood``."""
    request = _decode(line)
    command, arguments = request.get("command"), request.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise NotUnderstood("A request is {'command': '...', 'arguments': {...}}.")
    return command, arguments


def encode_answer(answer: dict[str, Any]) -> bytes:
    """The line to send; says that it would be too long, if it would."""
    line = json.dumps(answer, default=str).encode() + b"\n"
    if len(line) <= MOST_ANSWER:
        return line
    return encode_error("The answer is too long: ask for one alias, or without stacks.")


def encode_error(message: str) -> bytes:
    return json.dumps({"error": message}).encode() + b"\n"


def decode_answer(line: bytes) -> dict[str, Any]:
    """Raises ``NotUnderstood``."""
    return _decode(line)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise NotUnderstood("This is no JSON.") from None
    if not isinstance(value, dict):
        raise NotUnderstood("This is no JSON object.")
    return value
