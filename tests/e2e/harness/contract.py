"""docs/openapi.yaml, openapi-receiver.yaml and asyncapi.yaml hold for everything that a test sees: each answer and each message
that the harness reads is checked against them. What does not fit fails the test during which it came (conftest.py).

The documents let answers and messages grow, because readers must bear that. Here a member that they do not name is a fault."""

import functools
import json
import re
import threading
import warnings
from urllib.parse import parse_qsl, urlsplit

import yaml

from .pki import ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from jsonschema import Draft7Validator, Draft202012Validator
    from jsonschema.exceptions import best_match

SAMPLE = 3  # of a long list: so many rows at its beginning and at its end are looked at

seen = set()  # (document, operationId, status) of the answers so far, and the topics' channels
faults = []
_published = set()  # (topic, payload) of what the tests themselves have said: that may be anything
_lock = threading.Lock()


def take_faults():
    """What did not fit since the last call."""
    with _lock:
        taken = faults[:]
        faults.clear()
    return taken


def note(what, mistake, seen):
    """Once for each mistake."""
    fault = f"against the contract: {what}: {mistake}"
    with _lock:
        if not any(noted.startswith(fault) for noted in faults):
            faults.append(f"{fault}\n{seen[:500]!r}")


@functools.lru_cache(None)
def document(name):
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return closed(yaml.load((ROOT / "docs" / f"{name}.yaml").read_text(), loader))


def closed(node):
    """The same, with no place for members that are not named, and with every value that is known so far."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        node.setdefault("additionalProperties", False)
    if "x-extensible-enum" in node:
        node["enum"] = node["x-extensible-enum"]
    return node


# schemas


class Schema:
    """A piece of a document, ready to judge."""

    def __init__(self, name, piece, kind=Draft202012Validator):
        self.validator = kind({"allOf": [piece], "components": document(name)["components"]})

    def mistake(self, value):
        """What is wrong with it, or None."""
        found = best_match(self.validator.iter_errors(value))
        return found and f"{'/'.join(map(str, found.absolute_path)) or 'it'}: {found.message[:300]}"


def sampled(value):
    """Long lists of rows, which are all alike, cut short; and what says how many there were left alone."""
    if isinstance(value, dict):
        return {key: item[:SAMPLE] + item[-SAMPLE:] if isinstance(item, list) and len(item) > 2 * SAMPLE and isinstance(item[0], dict)
                else item for key, item in value.items()}
    return value


def resolved(name, node):
    while isinstance(node, dict) and "$ref" in node:
        pointer = node["$ref"]
        node = document(name)
        for step in pointer[2:].split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


# answers


class Operation:
    def __init__(self, name, path, item):
        self.name = name
        self.path = path
        self.id = item["operationId"]
        self.responses = {}
        for status, response in item["responses"].items():
            response = resolved(name, response)
            headers = {header: resolved(name, one) for header, one in response.get("headers", {}).items()}
            self.responses[int(status)] = (
                {header: (one.get("required", False), Schema(name, one["schema"])) for header, one in headers.items()},
                {kind: Schema(name, content.get("schema", {})) for kind, content in response.get("content", {}).items()},
                {kind: Schema(name, piece) for content in response.get("content", {}).values()
                 for kind, piece in content.get("x-events", {}).items()})
        body = resolved(name, item.get("requestBody", {})).get("content", {}).get("application/json")
        self.body = body and Schema(name, body["schema"])
        self.query = {parameter["name"] for parameter in map(functools.partial(resolved, name), item.get("parameters", []))
                      if parameter["in"] == "query"}


@functools.lru_cache(None)
def operations(name):
    """[(pattern of its path, {method: operation})]"""
    found = []
    for path, item in document(name)["paths"].items():
        shared = [resolved(name, parameter) for parameter in item.get("parameters", [])]
        pattern = path_pattern(name, path, shared)
        found.append((pattern, {
            method.upper(): Operation(name, path, {**one, "parameters": shared + one.get("parameters", [])})
            for method, one in item.items() if method != "parameters"}))
    return found


def path_pattern(name, path, parameters):
    """Matches the paths whose parts are what they must be; others are no resource."""
    parts = {one["name"]: resolved(name, one["schema"]).get("pattern", "[^/]+").strip("^$") for one in parameters if one["in"] == "path"}
    return re.compile(re.sub(r"\{([^}]*)\}", lambda found: parts.get(found[1], "[^/]+"), path))


@functools.lru_cache(None)
def problem(name):
    return Schema(name, {"$ref": "#/components/schemas/Problem"})


def find(name, method, path):
    """The operation, or None."""
    for pattern, methods in operations(name):
        if pattern.fullmatch(path):
            return methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
    return None


def check_answer(name, method, target, asked, answer):
    """name: of the document. asked: the body that was sent, or None. answer: with status, headers and body, which may be None if it
    goes on for ever."""
    url = urlsplit(target)
    operation = find(name, method, url.path)
    mistake = (answer_mistake(operation, method, answer) if operation else elsewhere_mistake(name, method, answer)) or \
        (request_mistake(operation, url.query, asked) if operation and answer.status < 400 else None)
    if operation:
        seen.add((name, operation.id, answer.status))
    if mistake:
        note(f"{method} {operation.path if operation else url.path}: {answer.status}", mistake, answer.body)


def media_type(answer):
    return (answer.headers.get("Content-Type") or "").split(";")[0]


def elsewhere_mistake(name, method, answer):
    if answer.status < 400:
        return "no document names it"
    return problem_mistake(name, method, answer)


def problem_mistake(name, method, answer):
    if method == "HEAD" or answer.body is None:
        return None
    if media_type(answer) != "application/problem+json":
        return f"a refusal of the type {media_type(answer)!r}"
    body = json.loads(answer.body)
    if body.get("status") != answer.status:
        return f"the body says {body.get('status')}"
    return problem(name).mistake(body)


def answer_mistake(operation, method, answer):
    if answer.status >= 400 and answer.body and b'"REQUEST_MALFORMED"' in answer.body:
        return problem_mistake(operation.name, method, answer)  # no operation has seen it
    if answer.status not in operation.responses:
        return "no such answer is named"
    headers, contents, _ = operation.responses[answer.status]
    mistake = headers_mistake(headers, answer)
    if mistake or method == "HEAD" or answer.body is None:
        return mistake
    if answer.status >= 400 and "application/problem+json" in contents:
        return problem_mistake(operation.name, method, answer)
    return body_mistake(contents, answer)


def headers_mistake(headers, answer):
    for header, (required, schema) in headers.items():
        value = answer.headers.get(header)
        if value is None and required:
            return f"there is no {header}"
        mistake = value is not None and schema.mistake(value)
        if mistake:
            return f"{header}: {mistake}"
    return None


def body_mistake(contents, answer):
    if not answer.body:
        return "there is no body" if contents and "application/octet-stream" not in contents else None
    schema = contents.get(media_type(answer))
    if not schema:
        return f"a body of the type {media_type(answer)!r}"
    return schema.mistake(sampled(json.loads(answer.body))) if media_type(answer) == "application/json" else None


def request_mistake(operation, query, asked):
    """What is understood must be written down as well."""
    unknown = {key for key, _ in parse_qsl(query)} - operation.query - {"ticket"}
    if unknown:
        return f"the query {', '.join(unknown)} was taken"
    if operation.body and asked:
        return operation.body.mistake(json.loads(asked))
    return None


def check_event(kind, data):
    """One of GET /events."""
    schema = find("openapi", "GET", "/events").responses[200][2].get(kind)
    mistake = schema.mistake(data) if schema else "no document names it"
    if mistake:
        note(f"the event {kind}", mistake, str(data))


# messages


class Message:
    """What is said on a channel. Its headers are user properties: with MQTT 5 there are exactly those that a trait names."""

    def __init__(self, name, piece):
        piece = resolved(name, piece)
        named = {}
        for trait in piece.get("traits", []):
            named.update(resolved(name, trait)["headers"]["properties"])
        self.payload = Schema(name, piece["payload"], Draft7Validator)
        self.headers = Schema(name, {"properties": named, "required": list(named), "additionalProperties": False}, Draft7Validator)

    def mistake(self, value, properties):
        found = self.payload.mistake(value)
        if found or properties is None:
            return found
        found = self.headers.mistake(dict(properties)) or (len(dict(properties)) < len(properties) and "one of them twice")
        return f"user properties: {found}" if found else None


@functools.lru_cache(None)
def channels():
    """[(its name, pattern of its topic, its messages)]"""
    name = "asyncapi"
    return [(title, re.compile(re.sub(r"\{[^}]*\}", "[^/]+", channel["address"])),
             [Message(name, message) for message in channel["messages"].values()])
            for title, channel in document(name)["channels"].items()]


def published(topic, payload):
    """A test is about to say this by itself."""
    with _lock:
        _published.add((topic, payload))


def check_message(topic, payload, properties=None):
    """properties: the MQTT 5 user properties, [(name, value)]; None: heard with MQTT 3.1.1."""
    with _lock:
        if (topic, payload) in _published:
            return
    name, messages = next(((name, messages) for name, pattern, messages in channels() if pattern.fullmatch(topic)), (None, None))
    seen.add(("asyncapi", name))
    mistake = message_mistake(messages, payload, properties) if messages else "no document names this topic"
    if mistake:
        note(f"on {topic}", mistake, payload)


def message_mistake(messages, payload, properties):
    try:
        value = json.loads(payload)
    except ValueError:
        return "it is not JSON"
    mistakes = [message.mistake(value, properties) for message in messages]
    return None if None in mistakes else mistakes[0]
