"""The conventions by which people write tables: words, signs, units. Not a data set itself.

This module is a table and nothing else. `_readings.py` applies it to label columns, and
`_splits.py` to columns that say which images are the test set.
"""

from collections.abc import Mapping

# ---------------------------------------------------------------------------------- missing

#: Spellings of a missing value, in lower case: blank cells, pandas, R, SQL, Excel's errors, C.
MISSING = frozenset(
    (
        *("", "nan", "+nan", "-nan", "na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nat"),
        *("null", "(null)", "<null>", "[null]", "nil", "\\n", "<none>", "(blank)", "(missing)"),
        *("#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!", "missing", "not available"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "n.a", "na.", "n/a.", "#missing"),
        # Excel's errors in German, French and Spanish.
        *("#nv", "#bezug!", "#wert!", "#zahl!", "#null", "#valeur!", "#nombre!", "#nom?", "#nul!"),
        *("#¡valor!", "#¡ref!", "#¡num!", "#¡div/0!", "#¿nombre?", "#spill!", "#calc!"),
    )
)
#: Signs that stand for a missing value, unless classes are single signs.
MISSING_SIGNS = frozenset(
    ("?", "??", "???", "-", "--", "---", "–", "—", ".", "..", "...", "*", "∅")
)
#: Words that may name a class too: no beard is a kind of beard. Among numbers they are missing.
MISSING_WORDS = frozenset(
    (
        *("none", "unknown", "unk", "unspecified", "undefined", "not known", "not specified"),
        *("tbd", "tba", "n.d.", "n/d", "n.v.", "k.a.", "void", "ignore", "ignored", "undetermined"),
        *("unlabeled", "unlabelled", "not labeled", "not labelled", "no label", "no annotation"),
        *("unannotated", "not annotated", "not applicable", "no data", "no value", "missing value"),
        *("not recorded", "not reported", "not determined", "indeterminate", "unclear", "unsure"),
        *("not sure", "uncertain", "desconocido", "inconnu", "unbekannt", "keine angabe"),
    )
)
#: Whole numbers that often stand for a missing one, where no other value is near.
SENTINELS = frozenset(
    (-1, -32768, -2147483648, *(s * (10**n - 1) for n in range(1, 7) for s in (1, -1)))
)

# ---------------------------------------------------------------------------------- truth

TRUE = frozenset(("true", "t", "yes", "y", "1", "1.0", "on"))
FALSE = frozenset(("false", "f", "no", "n", "0", "0.0", "off"))

# ---------------------------------------------------------------------------------- numbers

#: Signs that are written for a minus, and Arabic ones for the decimal point and for thousands.
SIGNS: Mapping[str, str] = {**dict.fromkeys("−–‒﹣", "-"), "٫": ".", "٬": "’"}
#: Signs that separate thousands, beside the comma and the point.
BETWEEN_THOUSANDS = " '’"
#: Spellings of each currency, which may stand before a number or behind it.
CURRENCIES: Mapping[str, tuple[str, ...]] = {
    "€": ("€", "EUR", "eur", "Euro", "euro", "euros"),
    "$": ("$", "US$", "USD", "usd"),
    "£": ("£", "GBP", "gbp"),
    "¥": ("¥", "JPY", "CNY", "RMB"),
    "₹": ("₹", "INR", "Rs", "Rs."),
    "CHF": ("CHF", "Fr."),
    "kr": ("kr", "SEK", "NOK", "DKK"),
    "₩": ("₩", "KRW"),
    "zł": ("zł", "PLN"),
    "₽": ("₽", "RUB"),
    "R$": ("R$", "BRL"),
}
#: Spellings of each unit behind a number, as NFKC leaves them: `m²` is `m2`.
UNITS: Mapping[str, tuple[str, ...]] = {
    "%": ("%", "percent", "pct"),
    "‰": ("‰",),
    "kg": ("kg", "Kg", "KG", "kgs", "kilograms"),
    "g": ("g", "gr", "grams"),
    "mg": ("mg",),
    "lb": ("lb", "lbs", "pounds"),
    "oz": ("oz",),
    "t": ("t",),
    "km": ("km",),
    "m": ("m", "metres", "meters"),
    "cm": ("cm", "CM"),
    "mm": ("mm", "MM"),
    "µm": ("μm", "um"),
    "nm": ("nm",),
    "in": ("in", "inch", "inches", '"'),
    "ft": ("ft", "feet"),
    "mi": ("mi", "miles"),
    "px": ("px", "pixels"),
    "m²": ("m2", "sqm"),
    "ha": ("ha",),
    "ml": ("ml", "mL"),
    "l": ("l", "L", "litres", "liters"),
    "ms": ("ms",),
    "s": ("s", "sec", "seconds"),
    "min": ("min", "mins", "minutes"),
    "h": ("h", "hr", "hrs", "hours"),
    "days": ("days", "day"),
    "weeks": ("weeks", "week", "wk"),
    "months": ("months", "month", "mo"),
    "years": ("years", "year", "yrs", "yr", "yo", "y"),
    "°": ("°", "deg", "degrees"),
    "°C": ("°C", "C"),
    "°F": ("°F", "F"),
    "km/h": ("km/h", "kph"),
    "mph": ("mph",),
    "bpm": ("bpm",),
    "mmHg": ("mmHg",),
    "kcal": ("kcal",),
}

# ---------------------------------------------------------------------------------- sets

#: Signs that separate the labels of a cell, by the names that the knob has for them. The first two
#: are always plain, and the third is where the labels recombine. The others are asked about then.
SEPARATORS: Mapping[str, str] = {
    "bar": "|",
    "semicolon": ";",
    "comma": ",",
    "slash": "/",
    "plus": "+",
    "ampersand": "&",
    "newline": "\n",
    "and": " and ",
    "space": " ",
    "hash": "#",
    "colon": ":",
    "underscore": "_",
    "hyphen": "-",
}

# ---------------------------------------------------------------------------------- splits

#: What words of a split column mean, in lower case.
SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trn", "tr", "trainset", "train_set", "fit"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validation", "dev", "development", "vld", "valset", "val_set"),
        "validation",
    ),
    **dict.fromkeys(
        ("test", "testing", "tst", "te", "holdout", "hold-out", "held-out", "testset", "test_set"),
        "test",
    ),
    **dict.fromkeys(("trainval", "train+val", "train_val"), "train"),
}
#: Names of columns that say which images are tested, in lower case.
SPLIT_NAMES = ("split", "partition", "subset", "set", "dataset_split", "data_split", "split_name")
#: Those whose numbers are the codes of splits, as CelebA's 0, 1, 2 for train, validation, test.
CODED_NAMES = ("split", "partition", "dataset_split", "data_split", "evaluation_status")
CODES: Mapping[str, str] = {"0": "train", "1": "validation", "2": "test"}
#: Parts of words that say a split, as in `PublicTest` and `val_seen`, in lower case.
SPLIT_STEMS: Mapping[str, str] = {
    "train": "train",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "holdout": "test",
}
#: What marks an image in a column whose other cells are blank, beside the words for true.
MARKS = frozenset(("x", "✓", "✔", "*", "•"))
#: Names of columns that number the folds of a cross-validation.
FOLD_NAMES = ("fold", "folds", "kfold", "k_fold", "cv_fold", "fold_id", "cv")
