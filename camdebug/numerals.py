"""Numbers as people read them."""

from __future__ import annotations


def number(value: float) -> str:
    """Two significant digits, without exponents for everyday sizes, never a bare ``0.0000``.

    >>> number(0.0312), number(12.34), number(-0.0), number(0.00002)
    ('0.031', '12', '0', '2e-05')
    """
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e4:
        digits = max(0, 1 - _exponent(value))
        return f"{value:.{digits}f}"
    return f"{value:.1e}".replace(".0e", "e")


def _exponent(value: float) -> int:
    return int(f"{abs(value):.1e}".split("e")[1])


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f} %"


def plain(value: float) -> str:
    """Two significant digits without exponents, and nothing below a thousandth.

    >>> plain(0.0312), plain(12.34), plain(-0.5), plain(1e-9), plain(0.0), plain(1234.0)
    ('0.031', '12', '-0.50', 'below 0.001', '0', '1234')
    """
    size = abs(value)
    if 0 < size < 1e-3:
        return "below 0.001" if value > 0 else "above -0.001"
    if size < 0.0995:
        return "0" if value == 0 else f"{value:.3f}"
    return f"{value:.2f}" if size < 0.995 else f"{value:.1f}" if size < 9.95 else f"{value:.0f}"


def count_of(count: int, thing: str) -> str:
    """A number of things.

    >>> count_of(1, "probe"), count_of(0, "probe")
    ('1 probe', '0 probes')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
