"""What cells of a column are taken for, and where a user is asked: one line a convention."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from bench.datasets._readings import Choices, Doubt, Reading, read_column, read_flags
from bench.datasets._splits import SplitReading, read_splits

Cells = Sequence[str | None]


def _read(cells: Cells, **chosen: Sequence[str]) -> Reading:
    return read_column("x", cells, Choices(**chosen))


def _plain(cells: Cells, **chosen: Sequence[str]) -> list[object]:
    """Return the cells as they are read where nothing is to be asked."""
    read = _read(cells, **chosen)
    assert read.doubts == ()
    return list(read.cells)


def _asked(cells: Cells, **chosen: Sequence[str]) -> Doubt:
    (doubt,) = _read(cells, **chosen).doubts
    return doubt


# ---------------------------------------------------------------------------------- missing

CLASSES = ["cat", "dog"] * 10
NUMBERS = ["4.5", "5.25", "7", "9.75", "10"] * 4


@pytest.mark.parametrize(
    "word",
    [
        *("nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "#N/A", "#NA", "<NA>", "NaT", "\\N"),
        *("#DIV/0!", "#REF!", "#VALUE!", "(null)", "n.a.", "missing", "?", "-", "--", ".", "—"),
    ],
)
@pytest.mark.parametrize("others", [CLASSES, NUMBERS])
def test_spellings_of_a_missing_value_are_told_and_no_class(others: Cells, word: str) -> None:
    assert _plain([*others, word, word]) == [*others, None, None]
    assert _read([*others, word, word]).notes == (f"'{word}' counts as missing (2 rows)",)


@pytest.mark.parametrize("word", ["None", "none", "unknown", "Unspecified"])
def test_words_that_may_name_a_class_are_asked_about_among_classes_alone(word: str) -> None:
    assert _plain([*NUMBERS, word])[-1] is None
    doubt = _asked([*CLASSES, word])
    assert doubt.at == [20]
    assert doubt.knobs == (f"missing=x={word}", f"keep=x={word}")
    assert _plain([*CLASSES, word], missing=[word])[-1] is None
    assert _plain([*CLASSES, word], keep=[f"x={word}"])[-1] == word


def test_a_choice_for_another_column_is_none_for_this_one() -> None:
    assert _asked([*CLASSES, "None"], keep=["y=None"]).at == [20]


def test_a_sign_among_single_signs_may_be_a_class() -> None:
    signs = ["a", "b", "!", "?"] * 5
    assert _asked(signs).knobs == ("missing=x=?", "keep=x=?")
    assert _plain(signs, keep=["?"]) == signs


def test_what_is_missing_everywhere_may_be_kept() -> None:
    assert _plain([*CLASSES, "NA"], keep=["NA"])[-1] == "NA"


# ---------------------------------------------------------------------------------- sentinels


@pytest.mark.parametrize(
    ("others", "value"),
    [
        (["0", "1"], "-1"),
        (["0", "1", "2", "3"], "-1"),
        (["0", "1", "2"], "9"),
        (["18.5", "35", "70.25"], "-1"),
        (["18.5", "35", "70.25"], "-999"),
        (["18", "35", "70"], "999"),
        (["1", "2", "3"], "99"),
        (["1", "2", "3"], "-9.0"),
        (["150.5", "171", "190"], "0"),
        (["4", "7", "10"], "10000000"),
        (["4.5", "7", "10"], "1e7"),
    ],
)
def test_a_value_apart_from_all_others_is_asked_about(others: Cells, value: str) -> None:
    rare = [value] if value in ("10000000", "1e7") else [value, value]
    cells = [*others] * 40 + rare
    doubt = _asked(cells)
    assert doubt.at == list(range(len(others) * 40, len(cells)))
    assert doubt.what == f"'{value}' may mean that there is no value, or be a number"
    assert doubt.knobs == (f"missing=x={value}", f"keep=x={value}")
    assert _plain(cells, keep=[value]) == cells
    assert _plain(cells, missing=[f"x={value}"])[-1] is None


@pytest.mark.parametrize(
    "values",
    [
        ["-1", "1"],
        ["-3.5", "-1", "0", "2"],
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        ["95", "97", "98", "99"],
        ["0", "1", "2"],
        ["1", "2", "5", "10", "20", "50", "80"],
        ["0", "0.5", "1"],
    ],
)
def test_values_in_the_company_of_others_are_values(values: Cells) -> None:
    assert _plain([*values] * 10) == [*values] * 10


def test_a_number_some_way_off_is_told() -> None:
    read = _read([*NUMBERS, "95"])
    assert (read.doubts, read.notes) == ((), ("'95' lies far from all other numbers",))


# ---------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["€20", "€35.5", "€1,234.50"], ["20", "35.5", "1234.50"]),
        (["20 €", "1.234,50 €"], ["20", "1234.50"]),
        (["$5", "US$7", "9 USD"], ["5", "7", "9"]),
        (["70 %", "12.5%", "0"], ["70", "12.5", "0"]),
        (["20 kg", "35.5kg"], ["20", "35.5"]),
        (["12 years", "3 yrs"], ["12", "3"]),
        (["3,5", "12,75", "4"], ["3.5", "12.75", "4"]),
        (["1,234", "1,234.5"], ["1234", "1234.5"]),
        (["1.234", "1.234,5"], ["1234", "1234.5"]),
        (["1,234,567", "12"], ["1234567", "12"]),
        (["1.234.567", "12"], ["1234567", "12"]),
        (["1 234", "12 345,5"], ["1234", "12345.5"]),
        (["1\u202f234", "1\u00a0234 567"], ["1234", "1234567"]),
        (["1'234.5", "2’345"], ["1234.5", "2345"]),
        (["−5", "−2.5", "3"], ["-5", "-2.5", "3"]),
        (["-€5", "€-7"], ["-5", "-7"]),
        (["１２", "３.５"], ["12", "3.5"]),
        (["1.234", "2.5", "0.125"], ["1.234", "2.5", "0.125"]),
        (["1.234", "2.345"], ["1.234", "2.345"]),
        (["0,125", "0,5"], ["0.125", "0.5"]),
    ],
)
def test_numbers_of_every_locale_are_read_where_one_reading_is_plain(
    cells: Cells, numbers: Cells
) -> None:
    assert _plain(cells) == numbers
    assert len(_read(cells).notes) == (cells != numbers)


def test_the_unit_of_numbers_is_told() -> None:
    assert _read(["70 %", "12 %"]).notes == ("'70 %' is read as 70 in %",)


@pytest.mark.parametrize(
    ("cells", "comma", "point"),
    [
        (["1,234", "12,500", "7"], ["1.234", "12.500", "7"], ["1234", "12500", "7"]),
        (["€1,234", "€5,000"], ["1.234", "5.000"], ["1234", "5000"]),
        (["987", "1.234", "12.500"], ["987", "1234", "12500"], ["987", "1.234", "12.500"]),
    ],
)
def test_a_sign_that_may_be_either_is_asked_about(cells: Cells, comma: Cells, point: Cells) -> None:
    assert _asked(cells).knobs == ("decimal=x=comma", "decimal=x=point")
    assert _plain(cells, decimal=["comma"]) == comma
    assert _plain(cells, decimal=["x=point"]) == point


def test_the_readings_of_such_a_number_are_named() -> None:
    assert _asked(["1,234", "7"]).what == "'1,234' may be 1.234 or 1234"


def test_a_number_without_the_unit_of_the_others_is_asked_about() -> None:
    cells = ["20 kg", "35 kg", "7"]
    doubt = _asked(cells)
    assert (doubt.what, doubt.at) == ("'7' has no unit where others are in kg", [2])
    assert doubt.knobs == ("unit=x=kg",)
    assert _plain(cells, unit=["x=kg"]) == ["20", "35", "7"]


def test_several_units_are_refused() -> None:
    doubt = _asked(["20 kg", "500 g", "3 kg"])
    assert "'20 kg', '500 g' have different units: write one unit" in doubt.what
    assert doubt.knobs == ()


def test_codes_with_leading_zeros_are_classes() -> None:
    read = _read(["00501", "02139", "10001"])
    assert read.codes
    assert read.notes == ("'00501', '02139' are codes, so they are classes, not a quantity",)


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-01-31", "2020-02-01"],
        ["192.168.1.1", "10.0.0.1"],
        ["3XL", "2XL"],
        ["1st", "2nd"],
        ["12:30", "13:45"],
        ["1-5", "6-10"],
        ["12 34", "56 78"],
        ["2d", "3d"],
        ["A1", "B2"],
    ],
)
def test_what_only_has_digits_is_no_number(cells: Cells) -> None:
    assert _plain([*cells] * 3) == [*cells] * 3


# ---------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("cells", "merged"),
    [
        (["Red", "Red", "red", "blue"], ["Red", "Red", "Red", "blue"]),
        (["light  blue", "light blue", "light blue"], ["light blue"] * 3),
        (["café", "café", "cafe\u0301"], ["café"] * 3),
        (["STRASSE", "Straße", "Straße"], ["Straße"] * 3),
        (["yes", "Y", "yes", "no", "0"], ["yes", "yes", "yes", "no", "no"]),
        (["True", "True", "true", "False"], ["True", "True", "True", "False"]),
    ],
)
def test_spellings_of_one_class_are_one_class_and_told(cells: Cells, merged: Cells) -> None:
    assert _plain(cells) == merged
    assert "(exact=x keeps them apart)" in _read(cells).notes[0]
    assert _plain(cells, exact=["x"]) == cells


def test_letters_in_two_cases_are_asked_about() -> None:
    letters = ["a", "A", "b", "B"]
    assert _asked(letters).knobs == ("folded=x", "exact=x")
    assert _plain(letters, exact=["x"]) == letters
    assert _plain(letters, folded=["x"]) == ["a", "a", "b", "b"]


# ---------------------------------------------------------------------------------- sets

LABELS = [("red", "left"), ("blue", "left"), ("red", "right"), ("blue", "right"), ("blue",)] * 3


@pytest.mark.parametrize("sign", ["|", ";", ",", ", "])
def test_labels_of_a_cell_are_cut(sign: str) -> None:
    cells = [sign.join(labels) for labels in LABELS]
    assert _plain(cells) == LABELS
    assert _plain(cells, separator=["none"]) == cells or sign in "|;"


@pytest.mark.parametrize(
    "write",
    [
        lambda labels: str(list(labels)),
        lambda labels: json.dumps(labels),
        lambda labels: "{" + ",".join(labels) + "}",
        lambda labels: f"[{', '.join(labels)}]",
        lambda labels: str(set(labels)) if len(labels) == 1 else str(labels),
    ],
)
def test_lists_as_python_and_json_write_them_are_labels(
    write: Callable[[tuple[str, ...]], str],
) -> None:
    assert _plain([write(labels) for labels in LABELS]) == LABELS
    assert _plain([*(write(labels) for labels in LABELS), "[]"])[-1] == ()


def test_lists_of_numbers_are_labels_and_no_numbers() -> None:
    assert _plain(["1,4,5", "3", "2, 4"]) == [("1", "4", "5"), ("3",), ("2", "4")]
    assert _plain(["1,234,567", "12"]) == ["1234567", "12"]


@pytest.mark.parametrize(("name", "sign"), [("space", " "), ("slash", "/"), ("plus", " + ")])
def test_labels_that_may_be_one_class_are_asked_about(name: str, sign: str) -> None:
    cells = [sign.join(labels) for labels in LABELS]
    doubt = _asked(cells)
    assert doubt.knobs == (f"separator=x={name}", "separator=x=none")
    assert doubt.at == [at for at, labels in enumerate(LABELS) if len(labels) > 1]
    assert _plain(cells, separator=[f"x={name}"]) == LABELS
    assert _plain(cells, separator=["none"]) == cells


@pytest.mark.parametrize(
    "cells",
    [
        ["Flip Flops", "Casual Shoes", "Sports Shoes", "Shirts"],
        ["New York, NY", "Austin, TX", "Albany, NY"],
        ["01/02/2020", "02/01/2020", "01/01/2020"],
        ["T-shirt", "shirt", "t-bar"],
    ],
)
def test_names_of_several_words_are_classes(cells: Cells) -> None:
    assert _plain([*cells] * 3) == [*cells] * 3


def test_spellings_of_one_label_are_one_label() -> None:
    read = _read(["Red|left", "red|left", "red"])
    assert read.cells == [("red", "left"), ("red", "left"), ("red",)]
    assert "'Red' (1) is read as 'red'" in read.notes[0]


@pytest.mark.parametrize("words", [("1", "0"), ("True", "False"), ("yes", "no"), ("1", "-1")])
def test_flags_are_true_or_false_in_any_spelling(words: tuple[str, str]) -> None:
    assert read_flags([*words, None]) == ([True, False, None], None)
    assert read_flags([*words, "2"])[1] is not None


def test_an_unknown_decimal_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="decimal is comma or point"):
        Choices(decimal=["x=dot"]).check()
    with pytest.raises(ValueError, match="separator is bar, semicolon, comma"):
        Choices(separator=["x=,"]).check()


# ---------------------------------------------------------------------------------- splits


def _splits(
    columns: Mapping[str, Cells], split: str = "", test: Sequence[str] = (), paths: Cells = ()
) -> SplitReading:
    return read_splits(columns, paths or [f"{i}.png" for i in range(6)], split, test)


TRAIN_TEST = ["train", "train", "test", "train", "train", "test"]


@pytest.mark.parametrize("name", ["split", "Set", "subset", "partition", "whatever"])
@pytest.mark.parametrize(
    "cells",
    [
        TRAIN_TEST,
        ["Training", "training", "Testing", "TRAIN", "trn", "holdout"],
        ["train", "train", "val", "train", "train", "validation"],
        ["train", "train", "dev", "train", "train", "valid"],
    ],
)
def test_a_column_of_split_words_is_the_split_whatever_its_name(name: str, cells: Cells) -> None:
    read = _splits({"kind": list("ababab"), name: cells})
    assert (read.columns, read.parts) == ((name,), TRAIN_TEST)


def test_validation_is_the_test_set_where_there_is_no_other_and_that_is_told() -> None:
    read = _splits({"split": ["train", "train", "val", "train", "train", "val"]})
    assert read.notes == ("no image is marked as test: the 2 of validation are the test set",)


def test_numbers_are_codes_of_splits_in_columns_called_so() -> None:
    read = _splits({"partition": ["0", "0", "1", "2", "0", "2.0"]})
    assert read.parts == ["train", "train", "validation", "test", "train", "test"]
    assert "0 is train, 1 is validation, 2 is test" in read.notes[0]
    assert _splits({"split": ["0", "0", "1", "0", "0", "1"]}).parts == TRAIN_TEST


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"is_valid": ["False", "False", "True", "False", "False", "True"]}, TRAIN_TEST),
        ({"is_test": list("001001")}, TRAIN_TEST),
        ({"Is_Train": list("110110")}, TRAIN_TEST),
        (
            {"is_train": list("110100"), "is_val": list("001000"), "is_test": list("000011")},
            ["train", "train", "validation", "train", "test", "test"],
        ),
    ],
)
def test_flags_are_splits(columns: Mapping[str, Cells], parts: Cells) -> None:
    assert _splits(columns).parts == parts


def test_flags_that_contradict_each_other_are_faults() -> None:
    read = _splits({"is_train": list("110110"), "is_test": list("001011")})
    assert dict(read.faults or {}) == {4: "'is_train', 'is_test' say no one split of this image"}


@pytest.mark.parametrize(
    ("columns", "knobs"),
    [
        ({"is_valid": list("111101")}, ("split=is_valid", "split=none")),
        ({"train": list("110110")}, ("split=train", "split=none")),
        ({"set": list("001001")}, ("split=set,test=1", "split=none")),
        ({"split": list("111011")}, ("split=split,test=0", "split=none")),
        ({"subset": list("112112")}, ("split=subset,test=2", "split=none")),
        ({"fold": list("012012")}, ("split=fold,test=0", "split=none")),
        (
            {"split": TRAIN_TEST, "part": [*TRAIN_TEST[1:], "train"]},
            ("split=split", "split=part", "split=none"),
        ),
    ],
)
def test_a_column_that_may_be_a_split_is_asked_about(
    columns: Mapping[str, Cells], knobs: tuple[str, ...]
) -> None:
    (doubt,) = _splits(columns).doubts
    assert doubt.knobs == knobs
    assert _splits(columns, "none").columns == ()
    chosen = dict(k.split("=") for k in knobs[0].split(","))
    assert _splits(columns, chosen["split"], chosen.get("test", "").split()).doubts == ()


def test_columns_that_say_the_same_split_are_one() -> None:
    read = _splits({"split": TRAIN_TEST, "part": TRAIN_TEST})
    assert (read.columns, read.parts) == (("split", "part"), TRAIN_TEST)


def test_a_fold_is_tested_if_the_user_says_so() -> None:
    folds = {"fold": list("012012")}
    assert _splits(folds, "fold", ["2"]).parts == TRAIN_TEST
    (doubt,) = _splits(folds, "fold", ["5"]).doubts
    assert doubt.what == "column 'fold' has no value '5', but '0', '1', '2'"


@pytest.mark.parametrize(
    "columns",
    [
        {"set": ["forks", "knives", "spoons"] * 2},
        {"usage": ["train", "car", "bus"] * 2},
        {"fold": ["alpha", "beta"] * 3},
        {"phase": list("012012")},
    ],
)
def test_a_label_of_such_a_name_is_a_label(columns: Mapping[str, Cells]) -> None:
    read = _splits(columns)
    assert (read.columns, read.parts, read.doubts) == ((), None, ())


def test_folders_called_train_and_test_are_the_split() -> None:
    paths = [f"photos/{part}/{i}.png" for i, part in enumerate(TRAIN_TEST)]
    read = _splits({"kind": list("ababab")}, paths=paths)
    assert read.parts == TRAIN_TEST
    assert read.notes[0].startswith("the images' folders are read as the split: 4 train, 2 test")
    assert _splits({"kind": list("ababab")}, "none", paths=paths).parts is None
    assert _splits({}, paths=[*paths[:-1], "photos/5.png"]).parts is None


# ---------------------------------------------------------------------------------- siblings


@pytest.mark.parametrize(
    "word",
    ["not applicable", "no data", "unlabeled", "No label", "n.d.", "TBA", "void", "not sure"],
)
def test_more_words_for_a_missing_value_are_asked_about_among_classes(word: str) -> None:
    assert _asked([*CLASSES, word, word]).knobs == (f"missing=x={word}", f"keep=x={word}")
    assert _plain([*NUMBERS, word])[-1] is None


@pytest.mark.parametrize("word", ["#NV", "#WERT!", "#VALEUR!", "#¡REF!", "N.A", "na."])
def test_errors_of_other_peoples_excel_are_missing(word: str) -> None:
    assert _plain([*CLASSES, word])[-1] is None


@pytest.mark.parametrize("value", ["-1", "-99", "9999", "-9999.0", "0", "1e20"])
def test_the_one_number_among_words_is_asked_about(value: str) -> None:
    doubt = _asked([*CLASSES, value, value])
    assert doubt.what == f"'{value}' may mean that there is no value, or be a class"
    assert _plain([*CLASSES, value], keep=[value])[-1] == value
    assert _plain([*CLASSES, value], missing=[value])[-1] is None


@pytest.mark.parametrize("classes", [["cat", "1", "2"], ["A4", "A5", "3"], ["yes", "no", "1"]])
def test_a_number_in_the_company_of_other_digits_is_a_class(classes: Cells) -> None:
    assert _read([*classes] * 10).doubts == ()


@pytest.mark.parametrize("value", ["1e20", "-3.4e38"])
def test_one_value_very_far_away_is_asked_about_however_often_it_is(value: str) -> None:
    assert _asked([*NUMBERS, *[value] * 10]).knobs[0] == f"missing=x={value}"


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (['="20"', '="35.5"'], ["20", "35.5"]),
        (["'20", "'35.5"], ["20", "35.5"]),
        (["1,23,456", "12,34,567.5"], ["123456", "1234567.5"]),
        (["١٢٫٥", "٣٫٥"], ["١٢.٥", "٣.٥"]),
    ],
)
def test_numbers_are_read_in_more_conventions(cells: Cells, numbers: Cells) -> None:
    assert _plain(cells) == numbers


def test_a_power_is_not_read_as_digits() -> None:
    assert _plain(["10³", "10²"] * 4) == ["10³", "10²"] * 4


MANY = [f"{i}.5" for i in range(25)] * 2


@pytest.mark.parametrize("unit", ["lux", "k", "N/m"])
def test_one_unknown_unit_behind_many_numbers_is_a_unit(unit: str) -> None:
    read = _read([f"{n} {unit}" for n in MANY])
    assert (list(read.cells), read.doubts) == (MANY, ())
    assert read.notes == (f"'0.5 {unit}' is read as a number in {unit}",)


def test_a_few_classes_with_a_number_before_them_stay_classes() -> None:
    cells = [f"{i % 5} stars" for i in range(50)]
    assert _plain(cells) == cells


@pytest.mark.parametrize(
    "form", ["2021-01-{0:02d}", "12:{0:02d}", "{0}/7", "({0}.5)", "{0}.5-", "~{0}", "{0}-{0}9"]
)
def test_many_quantities_in_an_unknown_form_are_asked_about(form: str) -> None:
    cells = [form.format(i + 1) for i in range(25)] * 2
    assert "a quantity in a form that is not known" in _asked(cells).what
    assert _asked(cells).knobs == ("classification=x",)
    assert read_column("x", cells, Choices(), "classification").doubts == ()


def test_multiples_that_differ_are_asked_about() -> None:
    assert _asked([f"{i}.5{'kM'[i % 2]}" for i in range(25)] * 2).knobs == ("classification=x",)


def test_many_codes_that_begin_with_a_letter_are_classes() -> None:
    cells = [f"n0{2084071 + i}" for i in range(25)] * 2
    assert _plain(cells) == cells


@pytest.mark.parametrize(
    ("cells", "one"),
    [
        (["red", "red\u200b", "blue"], "red"),
        (["red", "“red”", "'red'", "blue"], "red"),
        (["t shirt", "t-shirt", "t_shirt", "hat"], None),
        (["a & b", "a &amp; b", "c"], "a & b"),
        (["Tür", "TÃ¼r", "Haus"], "Tür"),
    ],
)
def test_spellings_that_look_alike_are_one_class(cells: Cells, one: str | None) -> None:
    read = _plain([cells[0], *cells] * 3)
    assert len(set(read)) == 2
    assert one is None or one in read
    apart = _plain([cells[0], *cells] * 3, exact=["x"])
    assert len(set(apart)) == len(cells)


@pytest.mark.parametrize("cells", [["A+", "A-", "B"], ["1-5", "1 5", "6"], ["recover", "re-cover"]])
def test_signs_that_tell_classes_apart_are_kept(cells: Cells) -> None:
    assert _plain([*cells] * 5) == [*cells] * 5


def test_a_dictionary_of_true_and_false_has_the_labels_that_are_true() -> None:
    cells = ["{'red': 1, 'left': 0}", '{"red": true, "left": true}', "{'left': 1}"]
    assert _plain([*cells] * 3) == [("red",), ("red", "left"), ("left",)] * 3


def test_a_dictionary_of_scores_is_no_set_of_labels() -> None:
    cells = ["{'red': 0.9}", "{'red': 0.2}"] * 5
    assert _plain(cells) == cells


def test_an_array_as_numpy_prints_it_is_a_list_of_labels() -> None:
    cells = ["['red' 'left']", "['blue']", "['red' 'sky blue'\n 'left']"]
    assert _plain([*cells] * 3) == [("red", "left"), ("blue",), ("red", "sky blue", "left")] * 3


@pytest.mark.parametrize("form", ["[{}]", "{}"])
@pytest.mark.parametrize("sign", [",", ", ", " "])
def test_vectors_of_zeros_and_ones_are_no_labels(form: str, sign: str) -> None:
    cells = [form.format(sign.join(each)) for each in ("101", "011", "001")] * 5
    assert "vectors of 0 and 1: write a column for each label" in _asked(cells).what


@pytest.mark.parametrize(
    ("name", "sign"),
    [("newline", "\n"), ("and", " and "), ("hash", "#"), ("underscore", "_"), ("hyphen", "-")],
)
def test_other_signs_between_labels_are_asked_about(name: str, sign: str) -> None:
    sets = (("red", "left"), ("blue", "left"), ("red", "right"), ("blue", "right"))
    cells = [sign.join(labels) for labels in sets] * 5
    assert _asked(cells).knobs == (f"separator=x={name}", "separator=x=none")
    assert _plain(cells, separator=[name])[0] == ("red", "left")


# ---------------------------------------------------------------------------------- splits


def _split_of(name: str, cells: Cells, split: str = "") -> SplitReading:
    return read_splits({name: cells}, [None] * len(cells), split)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("Usage", ["Training", "PublicTest", "Training", "PrivateTest"]),
        ("split", ["train1", "test1", "train2", "test1"]),
        ("split", ["train", "test_seen", "train", "test_unseen"]),
        ("part", ["train_a", "holdout_b", "train_a", "holdout_b"]),
    ],
)
def test_words_with_a_split_in_them_are_asked_about(name: str, cells: Cells) -> None:
    (doubt,) = _split_of(name, cells).doubts
    assert doubt.knobs == (f"split={name}", "split=none")
    assert _split_of(name, cells, name).parts == ["train", "test", "train", "test"]


def test_words_that_only_sound_like_one_are_labels() -> None:
    assert _split_of("news", ["latest", "fastest", "contest"]).columns == ()


def test_a_column_called_split_that_says_none_is_asked_about() -> None:
    (doubt,) = _split_of("split", ["A", "B", "A"]).doubts
    assert doubt.knobs == ("split=split,test=b", "split=none")


def test_a_mark_and_blanks_are_asked_about() -> None:
    cells = ["x", None, None]
    (doubt,) = _split_of("is_test", cells).doubts
    assert "has a mark for some of the images" in doubt.what
    assert _split_of("is_test", cells, "is_test").parts == ["test", "train", "train"]


@pytest.mark.parametrize("name", ["is_training_img", "is_train_split", "in_train_samples"])
def test_a_flag_may_say_what_it_flags(name: str) -> None:
    assert _split_of(name, ["1", "0", "1"]).parts == ["train", "test", "train"]
