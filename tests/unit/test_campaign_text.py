"""A campaign's message: refused with a reason, or written within bounds for whoever it goes to."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger_outreach.message_text import (
    DEPTH_MAX,
    EXAMPLE,
    NAME_LENGTH_MAX,
    NOBODY,
    TEMPLATE_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Addressee,
    Message,
    MessageRefused,
    check_message,
)

ASHA = Addressee(
    client="+919900000001",
    name="Asha Rao",
    language="hi",
    orders=4,
    last_order_at=datetime(2026, 11, 2, 23, tzinfo=UTC),
)
PATIENCE_S = 2.0


@pytest.mark.parametrize(
    ("template", "to_asha", "to_nobody"),
    [
        ("Hello {{name}}, cement is cheaper.", "Hello Asha Rao, cement is cheaper.", "Hello , cement is cheaper."),
        ("Hello {{ name|default('friend') }}!", "Hello Asha Rao!", "Hello friend!"),
        ("Hello {{ name | d(client) }}", "Hello Asha Rao", "Hello +10000000000"),
        ("{{ name|upper|trim ~ '!' }}", "ASHA RAO!", "!"),
        ("{% if orders %}{{ orders }} orders{% else %}Your first?{% endif %}", "4 orders", "Your first?"),
        ("a{% if orders >= 3 and 10 > orders %}b{% elif orders == 0 %}c{% endif %}", "ab", "ac"),
        ("{{ 'Namaste' if language in ['hi', 'mr'] else 'Hello' }}", "Namaste", "Hello"),
        ("Hi {{ 'since ' ~ last_order if last_order is defined }}", "Hi since 2026-11-02", "Hi"),
        ("<b>&{{ '<i>' }}</b>", "<b>&<i></b>", "<b>&<i></b>"),
        ("{% raw %}{{ name }}{% endraw %}{# no word of this #}", "{{ name }}", "{{ name }}"),
        ("a {{ 'b' if not name }}", "a", "a b"),
    ],
)
def test_variables_filters_and_conditions(template: str, to_asha: str, to_nobody: str) -> None:
    message = check_message(template)
    assert (message.text(ASHA), message.text(NOBODY)) == (to_asha, to_nobody)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("Hi {{ nmae }}", "there is no variable 'nmae': use name, client, language, orders, last_order"),
        ("Hi {{ name", "is not readable"),
        ("Hi {{ name|center(1000000000) }}", "there is no filter 'center'"),
        ("Hi {{ name|default('a', true, 1) }}", "takes 2 arguments at most"),
        ("Hi {{ name|default(default_value='a') }}", "by place alone"),
        ("Hi {{ name|upper(*orders) }}", "by place alone"),
        ("Hi {{ orders is divisibleby 0 }}", "there is no test 'divisibleby'"),
        ("{% for i in range(1000000000) %}x{% endfor %}", "no `for`"),
        ("{% set name = 'a' %}y", "no `set`"),
        ("{% macro m() %}{% endmacro %}y", "no `macro`"),
        ("{% include 'secret' %}", "no `include`"),
        ("{% filter upper %}x{% endfilter %}", "no `filter` around text"),
        ("{{ 'x' * 1000000000 }}", "no `mul`"),
        ("{{ 9 ** 9 ** 9 }}", "no `pow`"),
        ("{{ '%999999999d' % 1 }}", "no `mod`"),
        ("{{ range(3) }}", "no calls"),
        ("{{ name.__class__.__mro__ }}", "no attributes"),
        ("{{ name['__class__'] }}", "no indexes"),
        ("{{ [1, 2] }}", "no lists"),
        ("{{ 'a' if name == [1] }}", "lists need `in`"),
        ("{{ 'a' if name in 'abc' }}", "right of `in` stands a list"),
        ("{{ 'a' if name in [name] }}", "fixed values"),
        ("{{ 'a' if name < 3 }}", "only `orders` and numbers"),
        ("{{ 'a' if 1 < orders < 3 }}", "two values at a time"),
        ("{{ self }}", "there is no variable 'self'"),
        ("a\0b", "cannot be sent"),
        ("{{ '\\x00' }}", "cannot be sent"),
        ("{{ '\\ud83d' }}", "cannot be sent"),
        ("a" * (TEMPLATE_LENGTH_MAX + 1), f"at most {TEMPLATE_LENGTH_MAX} characters"),
        ("a" * (TEXT_LENGTH_MAX + 1), f"{TEXT_LENGTH_MAX} are the most"),
        ("{{ name ~ " + "name ~ " * 50 + "name }}", f"{TEXT_LENGTH_MAX} are the most"),
        ("{{ " + "(" * 1_900 + "name" + ")" * 1_900 + " }}", "is not readable"),
        ("{{ name" + "|upper" * 600 + " }}", "too deep"),
        ("{% if name %}" * DEPTH_MAX + "x" + "{% endif %}" * DEPTH_MAX, "too deep"),
        ("", "nothing is left"),
        ("  {{ name }} \n", "nothing is left"),
    ],
)
def test_what_may_not_be_is_refused_at_once_and_says_why(template: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(MessageRefused) as refused:
        check_message(template)
    assert reason in str(refused.value)
    assert time.monotonic() - started < PATIENCE_S


def test_a_name_is_one_short_line_whatever_the_client_calls_itself() -> None:
    named = Addressee(client="+1", name="  {{ orders }}\n" + "x" * 500)
    text = Message("{{ name }}").text(named)
    assert text.startswith("{{ orders }} xxx")
    assert len(text) == NAME_LENGTH_MAX


def test_a_text_that_grows_beyond_the_examples_is_cut() -> None:
    message = check_message("{{ name|d('x')|upper }}" * (TEXT_LENGTH_MAX // NAME_LENGTH_MAX))
    assert message.text(Addressee(client="+1", name="ß" * NAME_LENGTH_MAX)) == "SS" * (TEXT_LENGTH_MAX // 2)


SNIPPETS = st.sampled_from(
    [
        *("{{", "}}", "{%", "%}", "{#", "#}", "(", ")", "[", "]", "|", "~", ",", "'", '"', "\\", "\n", "*", "**", "-"),
        *("<", "==", "in", "not", "and", "or", "if", "else", "elif", "endif", "for", "endfor", "set", "raw", "endraw"),
        *("name", "orders", "language", "last_order", "client", "nobody", "default", "upper", "trim", "range", "is"),
        *("defined", "10", "1e999", "10000000000", "'x'", "True", "None", " ", "{% if name %}", "{% endif %}"),
        *("{{ name }}", "{{ orders ~ 'x' }}", "{{ 'a' if orders > 1 }}", "{{ name|d('you') }}", "text "),
    ]
)
TEMPLATES = st.lists(SNIPPETS, max_size=30).map(" ".join) | st.lists(SNIPPETS, max_size=40).map("".join) | st.text()
ADDRESSEES = st.builds(
    Addressee,
    client=st.text(min_size=1, max_size=40),
    name=st.none() | st.text(max_size=200),
    language=st.none() | st.text(max_size=5),
    orders=st.integers(0, 2**31 - 1),
    last_order_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@settings(max_examples=600, deadline=None)
@given(template=TEMPLATES, addressees=st.lists(ADDRESSEES, min_size=1, max_size=3))
def test_any_text_is_refused_with_a_reason_or_can_be_written_to_anybody(
    template: str, addressees: list[Addressee]
) -> None:
    started = time.monotonic()
    message, reason = None, ""
    try:
        message = check_message(template)
    except MessageRefused as refused:
        reason = str(refused)
    assert (message is None) == bool(reason)
    if message is not None:
        assert all(len(message.text(each)) <= TEXT_LENGTH_MAX for each in [*addressees, EXAMPLE, NOBODY])
        assert message.text(NOBODY)
    assert time.monotonic() - started < PATIENCE_S
