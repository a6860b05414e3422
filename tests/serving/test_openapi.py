"""The OpenAPI document is valid, its examples are answered, and the server does what it says."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="pip install fastapi")
pytest.importorskip("httpx", reason="pip install httpx")

from helpers.bundles import copied
from helpers.live_server import live_server
from helpers.retrievers import given_retriever
from starlette.testclient import TestClient

from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Vector,
    Words,
)
from dssm_lightning.features.raw_values import DATES, DURATIONS, NUMBERS, TIMES
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.example_values import PICTURE, Examples
from dssm_lightning.serving.openapi_schemas import as_openapi_3_0
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import Limits, ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError

TOKEN = "0123456789abcdef"
DIRECTION = Vector(name="direction", length=2)


@pytest.fixture(scope="module")
def app(shop_bundle: Path) -> Iterator[TestClient]:
    settings = ServingSettings(name_bundles([f"shop={shop_bundle}"]), Limits(max_k=77, max_batch=9, max_text=345))
    with TestClient(build_app(Serving(settings))) as client:
        yield client


@pytest.fixture(scope="module")
def address(shop_bundle: Path) -> Iterator[str]:
    with live_server(f"shop={shop_bundle}") as found:
        yield found


@pytest.fixture(scope="module")
def document(app: TestClient) -> Any:
    return app.get("/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


# -- the document ------------------------------------------------------------------------------------------------------


def test_it_describes_every_route_and_no_other(app: TestClient, document: Any) -> None:
    application: Any = app.app
    routes = {(route.path, method.lower()) for route in application.routes for method in route.methods}
    pages = {"/", "/page/{file}", "/docs", "/docs/{file}", "/openapi.json"}
    wanted = {(path, method) for path, method in routes if path not in pages and method != "head"}
    assert {(path, method) for path, method, _ in operations(document)} == wanted


def test_it_is_valid(document: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert len(list(schema.get_all_operations())) == len(list(operations(document)))
    assert document["openapi"].startswith("3.0"), "Swagger UI 4 reads no later one"


def test_every_operation_says_what_it_does(document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, _, operation in operations(document):
        assert len(operation["summary"]) > 10, path
        assert "`POST" not in operation["summary"], path
        assert "200" in operation["responses"]
        for status, answer in operation["responses"].items():
            assert answer["description"]
            if status != "200":
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Body"):
            assert schema["additionalProperties"] is False
            assert all("description" in field for field in schema["properties"].values()), name


def test_it_has_the_limits_and_the_bundles(document: Any) -> None:
    search = document["components"]["schemas"]["SearchBody"]["properties"]
    assert search["k"]["maximum"] == 77
    assert search["query"]["anyOf"][1]["maxItems"] == 9
    assert search["filter"]["maxLength"] == 345
    assert search["bundle"]["enum"] == ["shop", None]
    embeddings = document["components"]["schemas"]["EmbeddingsBody"]["properties"]
    assert set(embeddings["model"]["enum"]) == {"shop", "shop:query", "shop:candidate"}
    query = document["components"]["schemas"]["QueryValues"]["anyOf"][1]
    assert list(query["properties"]) == query["required"] == ["words"]


def test_a_token_is_declared(shop_bundle: Path, document: Any) -> None:
    assert "security" not in document
    settings = ServingSettings(name_bundles([f"shop={shop_bundle}"]), token=TOKEN)
    with TestClient(build_app(Serving(settings))) as client:
        assert client.get("/openapi.json").status_code == 401
        found = client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    (scheme,) = found["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert found["security"]
    assert found["paths"]["/health"]["get"]["security"] == []
    assert "security" not in found["paths"]["/search"]["post"]
    assert "401" in found["paths"]["/search"]["post"]["responses"]
    assert TOKEN not in str(found)


def test_it_is_made_once_and_anew_after_a_reload(shop_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(shop_bundle, tmp_path / "shop")
    serving = Serving(ServingSettings(name_bundles([str(bundle)]), token=TOKEN))
    application = build_app(serving)
    with TestClient(application, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        client.get("/openapi.json")
        first = application.state.openapi
        client.get("/openapi.json")
        assert application.state.openapi is first
        assert client.post("/reload").status_code == 200
        client.get("/openapi.json")
        assert application.state.openapi is not first


# -- the examples ------------------------------------------------------------------------------------------------------


def ask_examples(client: TestClient) -> dict[str, int]:
    """Ask every example of the document; return their number by path."""
    asked: dict[str, int] = {}
    for path, method, operation in operations(client.get("/openapi.json").json()):
        if "requestBody" not in operation:
            continue
        examples = operation["requestBody"]["content"]["application/json"].get("examples", {})
        for name, example in examples.items():
            answer = client.request(method, path, json=example["value"])
            assert answer.status_code == 200, f"{path}, {name}: {answer.text}"
            asked[path] = asked.get(path, 0) + 1
    return asked


def test_every_example_is_answered(app: TestClient) -> None:
    asked = ask_examples(app)
    wanted = {"/search", "/similar", "/candidates", "/encode", "/score", "/embed", "/v1/embeddings"}
    assert asked.keys() == wanted
    assert asked["/search"] == 4
    body = app.get("/openapi.json").json()["paths"]["/search"]["post"]["requestBody"]["content"]["application/json"]
    query = body["examples"]["one query"]["value"]["query"]
    found = app.post("/candidates", json={"text": query, "k": 3}).json()["hits"]
    assert found, "a word that the corpus contains"


def test_addresses_without_a_body_are_answered(app: TestClient, document: Any) -> None:
    for path, method, operation in operations(document):
        if method == "get" and not path.startswith("/pictures"):
            for parameter in operation.get("parameters", ()):
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
            assert app.get(path).status_code == 200, path


def test_the_examples_of_a_history_are_answered(exported_history: Path) -> None:
    settings = ServingSettings(name_bundles([f"films={exported_history / 'bundle'}"]))
    with TestClient(build_app(Serving(settings))) as client:
        asked = ask_examples(client)
    assert {"/search", "/similar", "/encode", "/score", "/candidates"} <= asked.keys()
    assert "/embed" not in asked, "its query has several columns"


FEATURES: list[Feature] = [
    Categorical(name="city", vocabulary=("Bonn", "Rome")),
    Categorical(name="user", num_buckets=10),
    CategoricalList(name="tags", vocabulary=("new", "red")),
    CategoricalList(name="genres", vocabulary=("War",), separator="|"),
    Numeric(name="age", mean=30.0, std=10.0, holds=NUMBERS),
    Numeric(name="born", mean=1e9, std=1e8, holds=DATES),
    Numeric(name="opens", mean=3e4, std=1e3, holds=TIMES),
    Numeric(name="lasts", mean=90.5, std=3.0, holds=DURATIONS),
    Numeric(name="old", mean=1.5, std=3.0),
    Bucketized(name="year", boundaries=(1960.0, 1980.0, 2000.0)),
    Bucketized(name="seen", boundaries=(1e9, 1.1e9), holds=DATES),
    Vector(name="embedding", length=7),
    Image(name="picture", size=4),
    Words(name="title", vocabulary=("the", "cat")),
    HashedWords(name="name", num_buckets=10),
    HashedTrigrams(name="text", num_buckets=10),
    History(name="liked", of="candidate"),
    History(name="dated", of="candidate", age="seconds"),
    History(name="bought", of="kind").bind(Categorical(name="kind", vocabulary=("x", "y"))),
    LikedBy(name="found_by", of="search").bind(Words(name="search", vocabulary=("red", "shoes"))),
]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{type(feature).__name__}-{feature.name}")
def test_each_feature_accepts_its_example(feature: Feature) -> None:
    retriever = given_retriever(schemas=Schemas(Schema((DIRECTION, feature)), Schema((DIRECTION,))))
    query = Examples(retriever).query()
    assert query is not None
    assert query["direction"] == [0.5, 0.5]
    assert query[feature.name] not in (None, [], "")


def test_examples_are_known_values() -> None:
    known = (FEATURES[0], FEATURES[2], FEATURES[4], FEATURES[5], FEATURES[13], FEATURES[14], FEATURES[16])
    retriever = given_retriever(schemas=Schemas(Schema((DIRECTION, *known)), Schema((DIRECTION,))))
    query = Examples(retriever).query()
    assert query["city"] == "Bonn"
    assert query["tags"] == ["new", "red"]
    assert query["age"] == 30
    assert query["born"] == "2001-09-09T01:46:40"
    assert query["title"] == "the cat"
    assert query["name"] == "ant", "a word of the candidates' names"
    assert query["liked"] == ["a", "b"]
    assert Examples(retriever).id == "a"


def test_a_candidate_is_one_of_the_corpus() -> None:
    name = HashedWords(name="name", num_buckets=10)
    retriever = given_retriever(schemas=Schemas(Schema((DIRECTION,)), Schema((DIRECTION, name, FEATURES[12]))))
    candidate = Examples(retriever).candidate()
    assert candidate == {"direction": [0.5, 0.5], "name": "ant", "picture": PICTURE}


class MagicWord(HashedWords):
    """A feature of the user's own that refuses what it does not know."""

    def encode_values(self, values: Any) -> Any:
        raise UserError("not the magic word")


def test_an_example_that_is_refused_is_not_shown() -> None:
    strict = Schema((DIRECTION, MagicWord(name="own", num_buckets=10)))
    examples = Examples(given_retriever(schemas=Schemas(strict, Schema((DIRECTION,)))))
    assert examples.query() is None
    assert examples.candidate() is not None


def test_the_picture_is_one() -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    assert pillow.open(io.BytesIO(base64.b64decode(PICTURE))).size == (8, 8)


# -- the server does what it says --------------------------------------------------------------------------------------


def test_the_words_of_openapi_3_0() -> None:
    union = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}
    assert as_openapi_3_0(union) == {"anyOf": [{"type": "string", "nullable": True}, {"type": "integer"}]}
    reference = {"anyOf": [{"$ref": "#/x"}, {"type": "null"}], "default": None}
    assert as_openapi_3_0(reference) == {"allOf": [{"$ref": "#/x"}], "nullable": True, "default": None}
    assert as_openapi_3_0({"const": 3}) == {"enum": [3]}
    assert as_openapi_3_0([{"type": "array", "items": union}])[0]["items"]["anyOf"][0]["nullable"]


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_generated_requests_get_what_the_document_says(address: str, mode: str) -> None:
    """Statuses, content types, headers and the form of each answer; what the document does not allow is refused."""
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    import hypothesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    quiet = list(hypothesis.HealthCheck)
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode == "negative" and operation.body.items == []:
            continue
        strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @hypothesis.settings(
            max_examples=15, database=None, deadline=None, suppress_health_check=quiet, derandomize=True
        )
        @hypothesis.given(strategy)
        def ask(case: Any) -> None:
            # A schema cannot say which texts are filters, ids or words: 422 is possible for what it allows.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        ask()
