"""The words of column names, and what they say about a column's part."""

from __future__ import annotations

import re
from collections.abc import Mapping

QUERY = {
    "query": 4,
    "question": 4,
    "search": 4,
    "keyword": 4,
    "qid": 4,
    "topic": 3,
    "anchor": 3,
    "premise": 3,
    "prompt": 3,
    **dict.fromkeys(("user", "customer", "client", "member", "viewer", "reader", "listener", "reviewer", "buyer"), 3),
    **dict.fromkeys(("uid", "userid", "visitor", "person", "player", "patient", "student", "author", "borrower"), 2.5),
    **dict.fromkeys(("session", "account", "device", "cookie", "household", "basket", "order", "playlist"), 2),
}
"""Nouns of the query's side, and how surely they mean it."""
CANDIDATE = {
    **dict.fromkeys(("passage", "answer", "sentence", "paragraph", "chunk"), 4.5),
    **dict.fromkeys(("candidate", "item", "product", "sku", "asin", "doc", "document", "docid", "docno", "iid"), 4),
    **dict.fromkeys(("movie", "film", "book", "song", "track", "article", "pid"), 3.5),
    **dict.fromkeys(("news", "video", "game", "app", "recipe", "job", "listing", "hotel", "restaurant", "course"), 3),
    **dict.fromkeys(("business", "poi", "venue", "anime", "show", "isbn", "ad", "offer", "photo", "image", "page"), 3),
    **dict.fromkeys(
        ("post", "paper", "episode", "podcast", "beer", "joke", "event", "target", "picture", "media"), 2.5
    ),
    **dict.fromkeys(("artist", "album", "url", "title", "text", "content", "response", "positive", "caption"), 2),
    **dict.fromkeys(("category", "brand", "name", "description", "emoji", "command", "icon"), 1),
}
"""Nouns of the candidate's side."""
KEYS = {
    *("id", "ids", "uid", "key", "code", "sku", "asin", "isbn", "uuid", "guid", "hash", "identifier"),
    *("qid", "docid", "docno", "pid", "iid", "userid", "itemid"),
}
"""Words of names that say that a column identifies something."""
TIME = {
    **dict.fromkeys(("timestamp", "unixtime", "ts"), 5),
    **dict.fromkeys(("time", "datetime"), 4),
    **dict.fromkeys(("date", "day", "when", "created", "at", "occurred"), 3),
}
NOT_EVENTS_TIME = {
    *("birth", "birthday", "dob", "release", "released", "published", "publication", "updated", "modified", "expiry"),
    *("expires", "expiration", "registered", "signup", "joined", "delivery", "shipped", "due", "end", "ended", "last"),
}
LABEL = {
    *("label", "liked", "like", "clicked", "click", "target", "relevant", "y", "purchased", "bought", "positive"),
    *("match", "matched", "converted", "conversion", "interested", "is_match", "duplicate", "accepted", "correct"),
    *("right", "gold", "hit", "chosen", "selected", "engaged", "success"),
}
CONTEXT = {
    *("mobile", "desktop", "app", "web", "new", "first", "repeat", "weekend", "holiday", "member", "premium"),
    *("logged", "active", "sponsored", "promoted", "ad", "discount", "sale", "gift", "adult", "test", "train", "split"),
    *("valid", "validation", "available", "online", "offline", "male", "female", "vip", "bot", "spoiler", "group"),
    *("ab", "verified"),
}
"""Words of names of columns that describe an event and do not judge it."""
RATING = {
    "rating",
    "ratings",
    "stars",
    "star",
    "score",
    "overall",
    "rate",
    "vote",
    "votes",
    "review_score",
    "evaluation",
}
GRADE = {"relevance", "rel", "grade", "judgment", "judgement", "gain", "qrel", "esci", "graded"}
EVENT = {"event", "action", "behavior", "behaviour", "interaction", "activity", "feedback", "status", "type"}
WEIGHT = {"weight", "sample_weight", "importance"}
FOLD = {"split", "fold", "set", "part", "partition", "subset"}
FOLDS = {"train": "train", "training": "train", "test": "test", "validation": "validation", "valid": "validation"} | {
    "val": "validation",
    "dev": "validation",
}
STRONG = {
    *(
        "purchase",
        "purchased",
        "buy",
        "bought",
        "order",
        "ordered",
        "transaction",
        "checkout",
        "cart",
        "addtocart",
        "add",
    ),
    *(
        "click",
        "clicked",
        "like",
        "liked",
        "favorite",
        "favourite",
        "fav",
        "save",
        "saved",
        "bookmark",
        "follow",
        "share",
    ),
    *("install", "download", "apply", "applied", "subscribe", "play", "played", "complete", "completed", "wishlist"),
    *(
        "booking",
        "book",
        "booked",
        "rent",
        "yes",
        "relevant",
        "exact",
        "positive",
        "true",
        "good",
        "match",
        "conversion",
    ),
    *("collect", "comment", "reply", "retweet", "accept", "accepted", "e", "s", "y", "pv_buy"),
}
WEAK = {
    *("view", "viewed", "pageview", "pv", "impression", "shown", "show", "display", "displayed", "skip", "skipped"),
    *("dislike", "disliked", "remove", "removed", "return", "returned", "no", "irrelevant", "negative", "false", "bad"),
    *("refund", "cancel", "cancelled", "unlike", "browse", "exposure", "detail", "i", "c", "n", "reject", "rejected"),
}
WORST = {"dislike", "disliked", "no", "irrelevant", "negative", "false", "bad", "i", "n", "reject", "rejected"}


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case; also without a final s.

    Example:
        >>> words_of("movieId"), words_of("search_terms"), words_of("UserID")
        (['movie', 'id'], ['search', 'term'], ['user', 'id'])
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    found = re.findall(r"[^\W\d_]+", apart)
    return [_singular(word.lower()) for word in found]


def _singular(word: str) -> str:
    keep = word in CANDIDATE or word in RATING or word.endswith(("ss", "us", "is")) or len(word) < 4
    return word if keep else word.removesuffix("s")


def joined(name: str) -> str:
    """Return a name in lower case without what separates its words: ``movieId`` and ``movie_id`` are equal."""
    return "".join(re.findall(r"\w", name.lower())).replace("_", "")


def weight_of(name: str, nouns: Mapping[str, float]) -> float:
    """Return how surely a name means one of the nouns: the greatest weight of its words.

    Example:
        >>> weight_of("user_id", QUERY), weight_of("price", QUERY)
        (3, 0.0)
    """
    words = words_of(name)
    compound = joined(name).removesuffix("id")
    return max((nouns[word] for word in [*words, compound] if word in nouns), default=0.0)


def is_key(name: str) -> bool:
    """Return whether a name says that it is an id.

    Example:
        >>> [is_key(name) for name in ("movieId", "itemid", "title", "valid")]
        [True, True, False, False]
    """
    words, compound = words_of(name), joined(name)
    nouns = QUERY.keys() | CANDIDATE.keys()
    return bool(KEYS & set(words)) or (compound.endswith("id") and compound[:-2] in nouns)


def has_word(name: str, words: set[str]) -> bool:
    """Return whether a name, or one of its words, is among the words."""
    return name.lower() in words or bool(words & set(words_of(name)))
