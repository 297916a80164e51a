"""Units of radiation dose, and exact conversion between them (UCUM).

Every kind of quantity is sent in the unit that PS3.16 asks of its template.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext

from intu_fhir.build.concepts import Concept, coding
from intu_fhir.build.content_values import UCUM

Factors = Mapping[str, Decimal]


def _factors(**factors: str) -> Factors:
    return {unit: Decimal(factor) for unit, factor in factors.items()}


AREA_PRODUCT, ABSORBED, GLANDULAR, LENGTH_PRODUCT, EFFECTIVE, SECONDS, ACTIVITY, VOLUME, COUNT = (
    "Gy.m2",
    "Gy",
    "mGy",
    "mGy.cm",
    "mSv",
    "s",
    "MBq",
    "cm3",
    "",
)
"""Target units; a count keeps the unit of its report."""

FACTORS: Mapping[str, Factors] = {
    AREA_PRODUCT: {
        "Gy.m2": Decimal(1),
        "mGy.m2": Decimal("1e-3"),
        "uGy.m2": Decimal("1e-6"),
        "Gy.cm2": Decimal("1e-4"),
        "dGy.cm2": Decimal("1e-5"),
        "cGy.cm2": Decimal("1e-6"),
        "mGy.cm2": Decimal("1e-7"),
        "uGy.cm2": Decimal("1e-10"),
    },
    ABSORBED: _factors(Gy="1", dGy="1e-1", cGy="1e-2", mGy="1e-3", uGy="1e-6"),
    GLANDULAR: _factors(Gy="1e3", dGy="1e2", cGy="1e1", mGy="1", uGy="1e-3"),
    LENGTH_PRODUCT: {
        "mGy.cm": Decimal(1),
        "Gy.cm": Decimal("1e3"),
        "uGy.cm": Decimal("1e-3"),
        "mGy.m": Decimal("1e2"),
        "uGy.m": Decimal("1e-1"),
    },
    EFFECTIVE: _factors(mSv="1", Sv="1e3", uSv="1e-3"),
    SECONDS: _factors(s="1", ms="1e-3", min="60", h="3600"),
    ACTIVITY: _factors(
        MBq="1", Bq="1e-6", kBq="1e-3", GBq="1e3", uCi="0.037", mCi="37", Ci="37000"
    ),
    VOLUME: _factors(cm3="1", mL="1", ml="1", mm3="1e-3", L="1e3", l="1e3"),
}
"""What one of a unit is of the target unit; 1 Ci is 37 GBq by definition."""


def in_target(value: Decimal, unit: Concept | None, target: str) -> tuple[Decimal, Concept | None]:
    """Return a value in the target unit; one in an unknown unit stays as it is.

    Nothing is rounded and no digit is added: 12.50 dGy.cm2 becomes 0.0001250 Gy.m2.
    """
    codes = [c["code"] for c in unit.codings if c["system"] == UCUM] if unit else []
    factor = FACTORS.get(target, {}).get(codes[0]) if codes else None
    if factor is None or codes[0] == target:
        return value, unit
    with localcontext(prec=100):
        # Written out, so that a power of ten stays a whole number.
        converted = Decimal(format(value * factor, "f"))
    return converted, Concept([coding(UCUM, target, target)])
