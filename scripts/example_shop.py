"""A made-up shop: items, people with tastes, what they bought and when, and what they were shown and clicked."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

START, DAYS = datetime(2024, 1, 1), 365
ITEMS, PEOPLE = 500, 700
THINGS = {
    "running": ["running shoes", "running shirt", "running watch", "water bottle", "head lamp"],
    "cycling": ["bicycle helmet", "bicycle lamp", "cycling gloves", "bicycle lock", "tyre pump"],
    "camping": ["tent", "sleeping bag", "gas stove", "camping chair", "rucksack"],
    "coffee": ["coffee grinder", "coffee pot", "espresso cups", "milk jug", "coffee beans"],
    "baking": ["cake tin", "rolling pin", "mixing bowl", "baking paper", "bread knife"],
    "tea": ["tea pot", "green tea", "tea cups", "kettle", "tea strainer"],
    "office": ["desk lamp", "office chair", "note book", "fountain pen", "paper tray"],
    "drawing": ["sketch book", "water colours", "coloured pencils", "easel", "brush set"],
    "music": ["guitar strings", "music stand", "headphones", "record player", "tuning fork"],
    "garden": ["garden shears", "watering can", "flower seeds", "rake", "plant pots"],
    "children": ["building blocks", "wooden train", "picture book", "soft bear", "jigsaw puzzle"],
    "winter": ["wool hat", "ski gloves", "scarf", "snow boots", "thermo mug"],
}
KINDS = list(THINGS)
COLOURS = ["red", "blue", "green", "black", "white", "yellow", "grey", "orange", "brown", "violet"]
MAKERS = ["Alba", "Borea", "Corvo", "Delta", "Enzo", "Fjord", "Gala", "Hanso", "Iris", "Juno"]
COUNTRIES = ["FR", "DE", "IT", "ES", "NL"]


class _Item(NamedTuple):
    number: int
    kind: int
    title: str
    price: float
    appeal: float
    day: float  # the day of the year from which it is sold
    follower: int  # what people buy after it


class _Person(NamedTuple):
    number: int
    tastes: list[float]
    country: str
    age: int | None
    events: int
    first_day: float


class Shop:
    """Draws everything once, from one seed.

    Args:
        seed: of all draws.
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._items = [self._item(number) for number in range(ITEMS)]
        self._people = [self._person(number) for number in range(PEOPLE)]

    def _item(self, number: int) -> _Item:
        draw, kind = self._draw, number % len(KINDS)
        thing = THINGS[KINDS[kind]][number // len(KINDS) % 5]
        title = f"{draw.choice(MAKERS)} {thing}, {draw.choice(COLOURS)}"
        same_kind = [other for other in range(kind, ITEMS, len(KINDS)) if other != number]
        new = draw.random() < 0.3
        day = draw.uniform(30, DAYS - 15) if new else -1.0
        price = round(math.exp(draw.gauss(3.2, 0.7)), 2)
        return _Item(number, kind, title, price, draw.gauss(0, 0.9), day, draw.choice(same_kind))

    def _person(self, number: int) -> _Person:
        draw = self._draw
        liked = draw.sample(range(len(KINDS)), 2)
        tastes = [2.6 if kind in liked else draw.gauss(-1.2, 0.7) for kind in range(len(KINDS))]
        age = None if draw.random() < 0.1 else draw.randint(18, 75)
        events = 4 + int(draw.expovariate(1 / 12))
        return _Person(number, tastes, draw.choice(COUNTRIES), age, events, draw.uniform(0, DAYS * 0.6))

    def _appeal(self, person: _Person, item: _Item, day: float, last: _Item | None) -> float:
        if item.day > day:
            return -math.inf
        season = 1.5 * math.cos(2 * math.pi * day / 365) if KINDS[item.kind] == "winter" else 0.0
        novelty = 1.5 if item.day >= 0 and day - item.day < 30 else 0.0
        series = 3.0 if last is not None and last.follower == item.number else 0.0
        return person.tastes[item.kind] + item.appeal + season + novelty + series

    def purchases(self) -> dict[str, pl.DataFrame]:
        """Return events (user_id, item_id, time), the users and the items."""
        rows = []
        for person in self._people:
            days = sorted(self._draw.uniform(person.first_day, DAYS) for _ in range(person.events))
            last: _Item | None = None
            bought: set[int] = set()
            for day in days:
                appeals = [self._appeal(person, item, day, last) for item in self._items]
                weights = [
                    0.0 if item.number in bought else math.exp(each)
                    for item, each in zip(self._items, appeals, strict=True)
                ]
                last = self._draw.choices(self._items, weights)[0]
                bought.add(last.number)
                rows.append((f"u{person.number}", last.number + 1000, _at(day)))
        rows.sort(key=lambda row: row[2])
        people = [(f"u{each.number}", each.country, each.age) for each in self._people]
        return {
            "purchases.csv": pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row"),
            "users.csv": pl.DataFrame(people, schema=["user_id", "country", "age"], orient="row"),
            "items.csv": self._item_table(),
        }

    def impressions(self, shown: int = 12) -> dict[str, pl.DataFrame]:
        """Return what each user was shown and whether it was clicked, the users and the items."""
        rows = []
        for person in self._people:
            day = self._draw.uniform(person.first_day, DAYS)
            on_sale = [item for item in self._items if item.day <= day]
            for item in self._draw.sample(on_sale, shown):
                hour = self._draw.randrange(7, 24)
                appeal = self._appeal(person, item, day, None) + (0.5 if hour >= 18 else 0.0) - 0.5
                clicked = int(self._draw.random() < 1 / (1 + math.exp(-appeal)))
                rows.append((f"u{person.number}", item.number + 1000, _at(day)[:10], hour, clicked))
        users = self.purchases_of_users()
        names = ["user_id", "item_id", "date", "hour", "clicked"]
        return {
            "shown.csv": pl.DataFrame(rows, schema=names, orient="row"),
            "users.csv": users,
            "items.csv": self._item_table(),
        }

    def purchases_of_users(self) -> pl.DataFrame:
        """Return the users with the kinds of things that they say they like."""
        rows = []
        for person in self._people:
            best = sorted(range(len(KINDS)), key=lambda kind: -person.tastes[kind])[:2]
            rows.append((f"u{person.number}", person.country, person.age, "|".join(KINDS[kind] for kind in best)))
        return pl.DataFrame(rows, schema=["user_id", "country", "age", "interests"], orient="row")

    def _item_table(self) -> pl.DataFrame:
        rows = [(each.number + 1000, each.title, KINDS[each.kind], each.price) for each in self._items]
        return pl.DataFrame(rows, schema=["item_id", "title", "category", "price"], orient="row")


def _at(day: float) -> str:
    return (START + timedelta(days=day)).strftime("%Y-%m-%d %H:%M:%S")
