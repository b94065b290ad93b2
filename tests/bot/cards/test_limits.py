"""No card is beyond what a message of Discord's holds, whatever members, rules, hosts and chains have written in it."""

from __future__ import annotations

import inspect
import itertools
import types
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from discord import ui
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simcord.backend.errors import BackendError
from simcord.components import COMPONENTS_V2_FLAG, ComponentValidationError, validate_components, validate_modal

from bot.cards import help as help_cards
from bot.cards import layout, limits
from bot.cards import prompt_words as word_cards
from bot.cards import receipts as receipt_cards
from bot.cards import results as result_cards
from bot.cards import reviews as review_cards
from bot.cards import rounds as round_cards
from bot.cards import videos as video_cards
from bot.cards import wallets as wallet_cards
from bot.demo.discord import validation as rules
from bot.domain.ledger_links import PublicLedger
from bot.domain.policy import LONGEST_PROMPT, LONGEST_TASK, clean_text
from bot.domain.reviews import Review
from bot.domain.rounds import Round
from bot.domain.standings import Entry, Outcome
from bot.domain.videos import QueuePlace, Video
from bot.domain.votes import CardVotes, Choice, Standing, Tally
from bot.domain.wallets import SigningRequest, Wallet
from bot.prompt_filter.rules import LONGEST_SAY
from contracts.outbox.progress import VoteReceipt
from generation.jobs import Progress

MODULES = (
    help_cards, layout, receipt_cards, result_cards, review_cards, round_cards, video_cards, wallet_cards, word_cards,
)  # fmt: skip
OF_THE_LEARNING_LOOP = {"battles", "candidates", "models", "training"}  # test_learning_limits.py looks at these
ID = (1 << 63) - 1
HEX = "ab" * 32
ADDRESS = "0x" + "Ab" * 20
# Characters that are escaped, isolated, joined, piled up, or take two units.
HOSTILE = "*_`~|<>[]()#+-\\@:/. aä‮א\u0300\u0301\u200d\u200c🎬👨🇩🇪🏻𝕏\n\t"
URL = "https://host.example/"


def texts(most: int) -> st.SearchStrategy[str]:
    """Anything up to so long, and above all what is as long as may be."""
    long = st.lists(st.sampled_from([*HOSTILE, "://", "**", "](https://x)", "```", "<@1>"]), min_size=1, max_size=12)
    filled = long.map(lambda parts: "".join(itertools.islice(itertools.cycle("".join(parts)), most)))
    return st.one_of(filled, st.text(max_size=min(most, 200)))


prompts = texts(LONGEST_PROMPT).map(lambda text: clean_text(text)[:LONGEST_PROMPT] or "abc")
tasks = texts(LONGEST_TASK).map(lambda text: clean_text(text)[:LONGEST_TASK] or "abc")
reasons = st.none() | texts(600)
urls = st.none() | st.integers(0, 3000).map(lambda length: URL + "x" * length)
statuses = st.sampled_from(
    ["queued", "rendering", "uploading", "hosting", "posting", "published", "failed", "cancelled", "removed"]
)
provenances = st.none() | st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {
                "id": texts(300),
                "revision": texts(100),
                "adapters": st.lists(st.fixed_dictionaries({"source": texts(300), "revision": texts(80)}), max_size=9),
            }
        ),
        "settings": st.fixed_dictionaries({name: texts(40) for name in ("frames", "width", "height", "steps")}),
        "signed_by": st.fixed_dictionaries({"kind": st.just("operator"), "name": texts(300)}),
        "seed": texts(40),
    }
)
videos = st.builds(
    Video, id=st.just(str(ID)), guild_id=st.just(ID), round_id=st.just(ID), member_id=st.just(ID),
    member_name=texts(100), prompt=prompts, status=statuses, reason=reasons, created_at_ms=st.just(1),
    finished_at_ms=st.just(1), cancel_requested=st.booleans(), seed=st.just(1), model_id=texts(200),
    model_revision=st.none(), video_path=st.none(), poster_path=st.none(), sha256=texts(80), size_bytes=st.none(),
    width=st.none(), height=st.none(), fps=st.none(), frames=st.none(), asset_id=st.none(), playback_id=st.none(),
    playback_url=urls, page_url=urls, progress_channel_id=st.none(), progress_message_id=st.none(),
    thread_id=st.just(ID), message_id=st.just(ID), chain_key=st.just(HEX), chain_id=st.none(), provenance=provenances,
)  # fmt: skip
rounds = st.builds(
    Round, id=st.just(ID), guild_id=st.just(ID), number=st.just(1_000_000), task=tasks, opened_by=st.just(ID),
    channel_id=st.just(ID), thread_id=st.sampled_from([None, ID]), announcement_id=st.just(ID),
    status=st.sampled_from(["opening", "open", "closing", "closed"]), opens_at_ms=st.just(1),
    closes_at_ms=st.just(9_999_999_999_999), winner_video_id=st.none(),
    result_message_id=st.sampled_from([None, ID - 1]),
    chain_key=st.just(HEX), chain_id=st.none(), finalized_tx=st.none(), trouble=reasons,
)  # fmt: skip
entries = st.builds(Entry, videos, st.builds(Tally, up=st.just(10**9), down=st.just(10**9)))
outcomes = st.builds(
    Outcome, entries=st.lists(entries, max_size=14), best=st.none() | entries,
    source=st.sampled_from(["here", "ledger", "record"]), rejected=st.just(10**6), absent=st.just(1000),
    differs=st.booleans(), winner_here=st.none() | entries,
)  # fmt: skip
reviews = st.builds(
    Review, id=st.integers(1, ID), kind=st.sampled_from(["prompt", "video"]), video_id=st.just(str(ID)),
    guild_id=st.just(ID), round_id=st.just(ID), member_id=st.just(ID), member_name=texts(100), prompt=prompts,
    finding=texts(LONGEST_SAY + 20), state=st.sampled_from(["waiting", "approved", "rejected", "over"]),
    channel_id=st.just(ID), created_at_ms=st.just(1), decided_by=st.just(ID), decided_at_ms=st.just(1), reason=reasons,
)  # fmt: skip
receipts = st.builds(
    VoteReceipt, choice=st.sampled_from([0, 1, 2]), state=st.sampled_from(["pending", "final", "rejected"]),
    reason=reasons, video_number=st.just(10**9), voter_index=st.just(10**9), seat=st.just(10**9), seq=st.just(10**9),
    tx=st.just("0x" + HEX), signed=st.booleans(), standing=st.sampled_from([None, 0, 1]),
)  # fmt: skip
ledgers = st.builds(
    PublicLedger, address=st.just(ADDRESS), rpc=urls, since=st.just(10**9),
    explorer_tx_url=st.sampled_from([None, "https://explorer.example/" + "x" * 200 + "/tx/{tx}"]),
)  # fmt: skip
standings = st.builds(
    Standing, choice=st.sampled_from(list(Choice)), changed=st.booleans(), round_number=st.just(10**6), prompt=prompts,
    closes_at_ms=st.just(9_999_999_999_999), wallet=st.just(ADDRESS),
)  # fmt: skip
choices = st.lists(st.just(types.SimpleNamespace(video_id="7", choice=Choice.UP)), max_size=200)
requests = st.builds(
    lambda kind, chosen: cast(
        SigningRequest,
        types.SimpleNamespace(
            token="t" * 43, kind=kind, wallet=ADDRESS, choices=chosen, expires_at_ms=9_999_999_999_999
        ),
    ),
    st.sampled_from(["link", "unlink", "ballot"]),
    choices,
)
wallets = st.builds(
    lambda state, reason: cast(Wallet, types.SimpleNamespace(state=state, reason=reason, address=ADDRESS)),
    st.sampled_from(["linking", "linked", "unlinking", "refused", "unlinked"]),
    reasons,
)
counts = st.just(10**6)
seconds = st.just(10.0**6)
places = st.none() | st.builds(QueuePlace, ahead=counts, estimate_s=st.none() | seconds, served=st.booleans())
words = st.none() | st.builds(
    lambda known, unknown: {
        "known": [[3 * n, 3 * n + 3] for n in range(known)],
        "unknown": [[3 * n, 3 * n + 3] for n in range(unknown)],
        "topics": "*" * 100,
        "example": "@" * 100,
    },
    st.integers(0, 100),
    st.integers(0, 100),
)
progresses = st.none() | st.builds(
    Progress, phase=st.sampled_from(["loading", "denoising", "encoding", "uploading"]), step=counts, steps=counts,
    eta_s=seconds, words=words,
)  # fmt: skip

Built = st.SearchStrategy[Any]
noted = layout.note


counts = st.integers(0, 10**12)
votes_on_cards = st.builds(CardVotes, st.builds(Tally, counts, counts), counts, counts, st.booleans())


def from_(function: Callable[..., Any], *arguments: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> Built:
    return st.builds(function, *arguments, **named)


def text(function: Callable[..., str], *arguments: st.SearchStrategy[Any]) -> Built:
    """A text that a card consists of."""
    return st.builds(function, *arguments).map(noted)


def signing() -> Built:
    prompts_of = st.fixed_dictionaries({"7": prompts})
    messages = st.integers(0, 4000).map(lambda length: {"types": "x" * length})
    words = st.one_of(
        st.builds(
            lambda standing, request: f"{wallet_cards.chosen_words(standing)}\n{wallet_cards.ballot_words(request)}",
            standings,
            requests,
        ),
        st.builds(wallet_cards.link_words, requests),
    )
    return st.builds(
        lambda request, message, said, page, prompt: wallet_cards.signing_card(
            request, message, said, page, wallet_cards.ballot_lines(request, prompt)
        ),
        requests, messages, words, urls, prompts_of,
    )  # fmt: skip


# Every public function of the card modules that gives a card, a form, or a text of one; a new one must come here.
CARDS: dict[str, Built] = {
    "videos.video_card": from_(
        video_cards.video_card, videos, st.just("attachment://a.mp4"), st.sampled_from([None, "Host"]),
        closed=st.none() | rounds,
    ),
    "help.help_card": from_(
        help_cards.help_card, st.none() | rounds, is_set_up=st.booleans(), is_moderator=st.booleans(),
        model_id=st.sampled_from(["tiny", "another"]), now_ms=st.just(2),
    ),
    "videos.votes_line": text(video_cards.votes_line, votes_on_cards),
    "videos.removed_card": from_(video_cards.removed_card, videos),
    "layout.note": from_(layout.note, texts(9000)),
    "videos.progress_text": text(video_cards.progress_text, videos, rounds, places, progresses),
    "prompt_words.words_line": text(word_cards.words_line, prompts, progresses),
    "videos.progress_card": from_(video_cards.progress_card, texts(9000), videos),
    "videos.vote_answer": from_(video_cards.vote_answer, standings, st.just(str(ID)), seconds),
    "rounds.announcement": from_(round_cards.announcement, rounds),
    "rounds.closed_announcement": from_(round_cards.closed_announcement, rounds),
    "rounds.closing_note": from_(round_cards.closing_note, rounds),
    "rounds.not_opened": from_(round_cards.not_opened, rounds),
    "results.standings_text": text(
        result_cards.standings_text, rounds, st.lists(entries, max_size=14), st.just({str(ID): 10**9})
    ),
    "receipts.receipt_card": from_(
        receipt_cards.receipt_card, rounds, st.lists(st.tuples(videos, receipts), max_size=16), st.just(HEX), ledgers,
        st.integers(0, 2500).map(lambda length: "flock audit " + "x" * length),
    ),
    "videos.provenance_card": from_(video_cards.provenance_card, videos, st.just("attachment://a.json"), progresses),
    "videos.my_videos": from_(
        video_cards.my_videos,
        st.lists(videos, max_size=10).map(lambda some: [replace(v, id=str(ID - n)) for n, v in enumerate(some)]),
        st.lists(from_(review_cards.held_line, reviews), max_size=3)
    ),
    "rounds.status_text": text(round_cards.status_text, rounds, counts, counts, counts, counts, texts(3000)),
    "results.result_card": from_(result_cards.result_card, rounds, outcomes, texts(3000), st.sampled_from([None, "attachment://a.mp4"])
    ),
    "results.details_card": from_(result_cards.details_card, rounds, texts(3000)),
    "results.standings_card": from_(
        result_cards.standings_card, rounds, outcomes, st.just({str(ID): 10**9})
    ),
    "results.rejected_note": from_(
        result_cards.rejected_note, st.lists(st.tuples(counts, counts, texts(600)), min_size=1, max_size=30)
    ),
    "reviews.blocked_card": from_(
        review_cards.blocked_card, texts(LONGEST_SAY + 100), st.just(ID), prompts.map(layout.copyable)
    ),
    "reviews.list_card": from_(
        review_cards.list_card, st.lists(reviews, max_size=5, unique_by=lambda review: review.id), counts,
        passed=st.integers(0, 10**6),
    ),
    "reviews.watch_card": from_(review_cards.watch_card, reviews, st.just("a.mp4")),
    "reviews.decided_text": text(review_cards.decided_text, reviews),
    "reviews.notice_text": text(review_cards.notice_text, reviews),
    "reviews.held_line": text(review_cards.held_line, reviews),
    "wallets.signing_card": signing(),
    "wallets.link_words": text(wallet_cards.link_words, requests),
    "wallets.unlink_words": text(wallet_cards.unlink_words, requests),
    "wallets.ballot_words": text(wallet_cards.ballot_words, requests),
    "wallets.chosen_words": text(wallet_cards.chosen_words, standings),
    "wallets.signed_words": text(wallet_cards.signed_words, requests, texts(40)),
    "wallets.wallet_words": text(wallet_cards.wallet_words, st.none() | wallets),
    "wallets.signature_form": from_(wallet_cards.signature_form, st.just("t" * 43)),
}  # fmt: skip
KINDS = ("View", "str", "Modal", "ui.", "Item", "Button")  # that such a function returns
# Pieces of the above, or ids; each is bounded by what it is a part of.
PIECES = {
    "help.examples",
    "layout.copyable", "layout.sentence", "layout.code", "layout.link",
    "layout.quote", "layout.view_of", "layout.row", "layout.seconds", "layout.minutes", "rounds.thread_name",
    "rounds.closing_mark", "results.details_id", "rounds.result_link",
    "videos.custom_id", "videos.title", "videos.plain_title", "videos.bar", "videos.message_link", "reviews.button",
    "reviews.review_parts", "wallets.short", "wallets.whole",
    "wallets.paste_id", "wallets.signature_id", "wallets.ballot_lines",
}  # fmt: skip


def builders_of(modules: Iterable[types.ModuleType]) -> set[str]:
    """The public functions of card modules that give a card, a form, or a text of one."""
    return {
        f"{module.__name__.removeprefix('bot.cards.')}.{name}"
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        and any(kind in str(function.__annotations__.get("return")) for kind in KINDS)
    }  # fmt: skip


def test_every_builder_is_tried_here() -> None:
    """Whoever adds a card, or a text of one, adds it to the table above."""
    assert builders_of(MODULES) == CARDS.keys() | PIECES


def test_there_is_no_other_module_of_cards() -> None:
    """A new one must be looked at by the test above."""
    names = {module.__name__.rpartition(".")[2] for module in MODULES} | OF_THE_LEARNING_LOOP
    assert {path.stem for path in Path(limits.__file__).parent.glob("*.py")} == names | {"__init__", "limits"}


def checked(view: Any) -> None:
    """As the embedded Discord checks it, and once more by our own count."""
    if isinstance(view, ui.Modal):
        rules.check_components(validate_modal(view.to_dict())["components"])
        return
    components = view.to_components()
    validate_components(components, flags=COMPONENTS_V2_FLAG)
    rules.check_components(components)
    everything = list(walked(components))
    assert len(everything) <= 40
    shown = [part["content"] for part in everything if "content" in part]
    assert all(shown)
    assert sum(len(said.encode("utf-16-le", "surrogatepass")) // 2 for said in shown) <= 4000
    assert all(len(part["custom_id"]) <= 100 for part in everything if part.get("custom_id"))


def walked(tree: Any) -> Any:
    if isinstance(tree, list):
        for node in tree:
            yield from walked(node)
    elif isinstance(tree, dict):
        yield tree
        for key in ("components", "accessory"):
            yield from walked(tree.get(key))


@pytest.mark.parametrize("name", CARDS)
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # making it smaller takes minutes
@given(data=st.data())
def test_no_card_is_too_large(name: str, data: st.DataObject) -> None:
    """With hostile texts as long as they may be."""
    checked(data.draw(CARDS[name]))


@given(tasks, prompts)
def test_no_name_is_too_long(task: str, prompt: str) -> None:
    """Of a thread, and of what an option suggests: also of emoji, which count twice."""
    round_ = cast(Round, types.SimpleNamespace(number=10**6, task=task))
    for name in (round_cards.thread_name(round_), limits.plain(prompt, limits.MOST_NAME)):
        assert 1 <= len(name.encode("utf-16-le", "surrogatepass")) // 2 <= 100


LISTS = [*HOSTILE, "ab", "**bold**", "\\*", "<@123>", "[a](https://b.c)", "`x`", "https://a.b/c", "\u2068", "\u2069"]


@given(st.lists(st.sampled_from(LISTS), max_size=60), st.integers(12, 120))
def test_a_cut_is_never_within_anything(pieces: list[str], most: int) -> None:
    """No half escape, mention or link; what is open is closed; and what fits stays as it is."""
    whole = "".join(pieces)
    short = limits.shorten(whole, most)
    assert limits.length(short) <= most
    if limits.length(whole) <= most:
        assert short == whole
        return
    kept = short.rstrip("*\u2069").removesuffix("…")
    assert whole.startswith(kept.rstrip())
    assert short.count("\u2068") <= short.count("\u2069") or "\u2069" in whole


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("a\\*b\\*c\\*d", 6, "a\\*b…"),
        ("a\\*b\\*c\\*d", 5, "a\\*b…"),
        ("hello <@1234567> there", 12, "hello…"),
        ("see [this](https://a.b/c) now", 14, "see…"),
        ("**bold words here** and", 12, "**bold wo…**"),
        ("\u2068a quoted prompt\u2069 and more of it", 12, "\u2068a quoted…\u2069"),
        ("`\u2068` opened in code", 8, "`\u2068` op…\u2069"),
        ("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧", 12, "👨‍👩‍👧…"),
        ("e\u0301e\u0301e\u0301e\u0301", 6, "e\u0301e\u0301…"),
        ("🇩🇪🇫🇷🇯🇵", 10, "🇩🇪🇫🇷…"),
    ],
)
def test_where_a_text_is_cut(text: str, most: int, short: str) -> None:
    assert limits.shorten(text, most) == short


def test_a_quoted_prompt_is_cut_between_two_characters() -> None:
    """An emoji of several parts stays whole or goes whole; five hundred asterisks stay themselves."""
    assert layout.quote("👨‍👩‍👧" * 10, 12) == "\u2068👨‍👩‍👧👨‍👩‍👧…\u2069"
    assert layout.quote("*" * 500) == "\u2068" + "\\*" * 500 + "\u2069"


def five_asterisks() -> list[Review]:
    return [
        Review(n, "prompt", str(n), 1, 1, n, "ana", "*" * 500, "rule 1: It waits.", "waiting", 1, 1, None, None, None)
        for n in range(1, 6)
    ]


def test_the_list_that_two_members_jammed_is_refused_as_it_was_built() -> None:
    """The twin: five at once are refused by the validator; a page has as many as fit, and a way to the others."""
    items: list[ui.Item[Any]] = [part for review in five_asterisks() for part in review_cards.review_parts(review)]
    view = ui.LayoutView()
    container: ui.Container[Any] = ui.Container()
    for item in items:
        container.add_item(item)
    view.add_item(container)
    with pytest.raises(ComponentValidationError, match="4000"):
        validate_components(view.to_components(), flags=COMPONENTS_V2_FLAG)
    with pytest.raises(BackendError, match="4000"):
        rules.check_components(view.to_components())
    checked(review_cards.list_card(five_asterisks(), 5))


def test_every_review_is_on_a_page() -> None:
    """Page by page, from the button of one to the next, each once."""
    waiting, seen, after = five_asterisks(), [], 0
    while True:
        rest = [review for review in waiting if review.id > after]
        card = review_cards.list_card(rest, len(waiting), passed=len(waiting) - len(rest))
        checked(card)
        ids = [part["custom_id"] for part in walked(card.to_components()) if part.get("custom_id")]
        seen += [int(id_.split(":")[2]) for id_ in ids if id_.startswith("r1:approve:")]
        turn = [int(id_.split(":")[2]) for id_ in ids if id_.startswith("r1:page:") and not id_.endswith(":0")]
        if not turn:
            break
        (after,) = turn
    assert seen == [1, 2, 3, 4, 5]


def test_what_a_builder_forgets_is_cut_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """More parts than a message holds, more text, and none at all."""
    checked(layout.view_of(*(ui.TextDisplay("x" * 500) for _ in range(60))))
    checked(layout.view_of(*(ui.TextDisplay("🎬" * 500) for _ in range(30))))
    checked(layout.view_of(ui.TextDisplay("")))
    assert "more parts than a message holds" in caplog.text
    assert "characters more than a message holds" in caplog.text


@pytest.mark.parametrize(
    "part",
    [
        {"type": 10, "content": "🎬" * 2001},
        {"type": 17, "components": []},
        {"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "x"}]},
        {"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "🎬" * 51, "label": "x"}]},
        {"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "x", "label": "🎬" * 41}]},
        {"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "x", "emoji": {"name": "x" * 33}}]},
        {"type": 12, "items": [{"media": {"url": "x"}, "description": "x" * 1025}]},
    ],
)
def test_the_embedded_discord_is_as_strict(part: dict[str, Any]) -> None:
    """Where simcord is laxer; the same of half the size passes."""
    with pytest.raises(BackendError):
        rules.check_components([part])
    rules.check_components([{"type": 10, "content": "🎬" * 2000}])
