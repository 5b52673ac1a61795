# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL prints before and after a restore has one form; what means something else has another."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.expressions import normalised
from hypothesis import given
from hypothesis import strategies as st

# Printed by 15 and 18 for the same object: in production, and after a dump and a restore.
SAME = {
    "a list of varchar": (
        "CHECK (((kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))",
        "CHECK (((kind)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
    ),
    "a list with an expression": (
        "((level)::text = ANY ((ARRAY['a'::character varying, (upper('c'::text))::character varying])::text[]))",
        "((level)::text = ANY (ARRAY[('a'::character varying)::text, ((upper('c'::text))::character varying)::text]))",
    ),
    "a concatenation in a list": (
        "ANY ((ARRAY[(a || 'x'), b])::text[])",
        "ANY (ARRAY[((a || 'x'))::text, (b)::text])",
    ),
    "white space": ("SELECT a.id,\n    a.k\n   FROM a", " SELECT a.id, a.k FROM a"),
}

DIFFERENT = {
    "another value": ("CHECK ((a = 'x'::text))", "CHECK ((a = 'y'::text))"),
    "other parentheses": ("(((a OR b) AND c))", "((a OR (b AND c)))"),
    "another column": ("lower(a)", "lower(b)"),
    "another quoted column": ('"A"', '"a"'),
    "white space in a literal": ("'a  b'", "'a b'"),
    "a cast in a literal": ("'a'::text || '::int'", "'a'::text || '::text'"),
    "a literal that ends in a backslash": (r"'a\' || 'b'", r"'a\' || 'c'"),
    "an escaped literal": (r"E'a\'b' || 'c'", r"E'a\'b' || 'd'"),
    "an argument more": ("f(a, b)", "f((a, b))"),
    "a row": ("ROW(1, 2)", "ROW((1, 2))"),
    "an operator": ("a -> b", "a ->> b"),
    "a number": ("(1)", "(10)"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_expression_has_one_form(name: str) -> None:
    before, after = SAME[name]
    assert normalised(before) == normalised(after)


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_expression_has_another_form(name: str) -> None:
    one, other = DIFFERENT[name]
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    "name",
    [
        "integer",
        "numeric(10,2)",
        "character varying(5)",
        "character varying",
        "double precision",
        "bit varying(3)",
        "timestamp(3) with time zone",
        "time without time zone",
        "interval day to second(3)",
        "interval(0)",
        'public."my type"',
        '"char"',
        "text[]",
        "timestamp with time zone[]",
        "character(1)[]",
        "public.geometry(Point,4326)[]",
    ],
)
def test_a_cast_goes_with_all_of_its_type(name: str) -> None:
    assert normalised(f"((a)::{name} + f(b))") == normalised("(a + f(b))")


def test_what_stands_behind_a_cast_stays() -> None:
    assert normalised("(a)::timestamp without time zone AT TIME ZONE 'UTC'::text") == "a AT TIME ZONE 'UTC'"
    assert normalised("(a)::text[1]") != normalised("a")
    assert normalised("(a)::interval day") == "a"
    assert normalised('x::text COLLATE "C" DESC') == 'x COLLATE "C" DESC'


def test_depth_without_end_is_read_as_it_is() -> None:
    assert normalised("(" * 5000 + "a::text" + ")" * 5000).count("a") == 1


@given(st.text(alphabet="()[],:'\"ab \\E.1$-|\n", max_size=60))
def test_any_text_has_a_form_that_is_stable_in_white_space(text: str) -> None:
    assert normalised(text) == normalised(f"  {text}\n") or "'" in text or '"' in text
