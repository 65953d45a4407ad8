"""Tables as people have them: any columns, any dialect, and every fault a reason."""

import csv
import io
import os
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from camdebug.records import Exclusion
from camdebug.sources import Annotations, CsvTable, Source
from camdebug.sources.pictures import open_picture

HEADER = "filename,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 40x30 beside the table."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    return tmp_path


def table(folder, *lines, name="boxes.csv", end="\n", encoding="utf-8"):
    path = folder / name
    path.write_bytes(end.join(lines).encode(encoding))
    return path


def read(folder, *lines, **options):
    return CsvTable(table(folder, *lines), **options).read()


def boxes(found):
    return {entry.source_id: [(o.name, o.box) for o in entry.objects] for entry in found.entries}


def reasons(found):
    return {exclusion.source_id: exclusion.reason for exclusion in found.exclusions}


class TestContent:
    def test_rows_of_one_picture_belong_together_in_order_of_first_appearance(self, folder):
        rows = ("b.png,dog,1,2,3,4", "a.png,cat,5,6,7.5,8", "b.png,cat,0,0,9,9")
        found = read(folder, HEADER, *rows)
        assert isinstance(CsvTable("x.csv"), Source)
        assert boxes(found) == {
            "b.png": [("dog", (1, 2, 3, 4)), ("cat", (0, 0, 9, 9))],
            "a.png": [("cat", (5, 6, 7.5, 8))],
        }
        assert list(boxes(found)) == ["b.png", "a.png"]
        assert (found.names, found.kind, found.exclusions) == (("dog", "cat"), "boxes", ())
        assert found.source == "CSV table, 2 pictures"
        assert (found.entries[0].picture, found.entries[0].file) == (folder / "b.png", "b.png")
        assert open_picture(found.entries[0]).size == (40, 30)

    def test_any_names_of_columns_in_any_order(self, folder):
        found = read(
            folder,
            "kind,x,junk,path,y,w,h",
            "cat,1,?,a.png,2,10,20",
            picture="path",
            label="kind",
            box=("x", "y", "w", "h"),
            box_format="xywh",
        )
        assert boxes(found) == {"a.png": [("cat", (1, 2, 11, 22))]}

    @pytest.mark.parametrize(
        ("box_format", "expected"),
        [("xyxy", (10, 8, 6, 4)), ("xywh", (10, 8, 16, 12)), ("cxcywh", (7, 6, 13, 10))],
    )
    def test_formats_of_boxes(self, folder, box_format, expected):
        assert boxes(read(folder, HEADER, "a.png,cat,10,8,6,4", box_format=box_format)) == {
            "a.png": [("cat", expected)]
        }

    @pytest.mark.parametrize("text", ['"[1, 2, 3, 4]"', "1 2 3 4", '"(1.0,2.0,3.0,4.0)"', '"1;2;3;4"'])
    def test_four_numbers_in_one_column(self, folder, text):
        found = read(folder, "filename,class,bbox", f"a.png,cat,{text}", box="bbox")
        assert boxes(found) == {"a.png": [("cat", (1, 2, 3, 4))]}

    def test_shares_become_pixels_of_the_declared_size(self, folder):
        found = read(
            folder, HEADER + ",w,h", "a.png,cat,.25,.5,.75,1,40,30", normalised=True, size=("w", "h"), box_format="xyxy"
        )
        assert boxes(found) == {"a.png": [("cat", (10, 15, 30, 30))]}
        assert found.entries[0].size == (30, 40)

    def test_shares_become_pixels_of_the_file_s_header_upright(self, folder):
        turned = Image.new("RGB", (40, 30))
        exif = turned.getexif()
        exif[0x0112] = 6
        turned.save(folder / "turned.jpg", exif=exif)
        found = read(
            folder, HEADER, "a.png,cat,.5,.5,.5,1", "turned.jpg,cat,.5,.5,.5,1", normalised=True, box_format="cxcywh"
        )
        assert boxes(found) == {"a.png": [("cat", (10, 0, 30, 30))], "turned.jpg": [("cat", (7.5, 0, 22.5, 40))]}
        assert [entry.size for entry in found.entries] == [(30, 40), (40, 30)]
        assert open_picture(found.entries[1]).size == (30, 40)

    def test_declared_sizes_are_kept_and_unknown_ones_are_none(self, folder):
        options = {"size": ("width", "height")}
        found = read(folder, HEADER + ",width,height", "a.png,cat,1,2,3,4,40.0,30", "b.png,cat,1,2,3,4,0,", **options)
        assert [entry.size for entry in found.entries] == [(30, 40), None]

    def test_without_box_columns_there_are_classes_only_each_once_a_picture(self, folder):
        found = read(folder, "filename,class", "a.png,cat", "a.png,cat", "a.png,dog", "b.png,dog", box=None)
        assert boxes(found) == {"a.png": [("cat", None), ("dog", None)], "b.png": [("dog", None)]}
        assert found.kind is None

    def test_a_row_without_label_and_box_names_a_picture_without_objects(self, folder):
        assert boxes(read(folder, HEADER, "a.png,cat,1,2,3,4", "b.png,,,,,")) == {
            "a.png": [("cat", (1, 2, 3, 4))],
            "b.png": [],
        }

    def test_boxes_are_as_they_are_there_faults_included(self, folder):
        found = read(folder, HEADER, "a.png,cat,9,9,1,1", "b.png,cat,-5,inf,5e3,1e999")
        assert boxes(found) == {
            "a.png": [("cat", (9, 9, 1, 1))],
            "b.png": [("cat", (-5, float("inf"), 5000, float("inf")))],
        }

    def test_a_file_without_a_line_of_names(self, folder):
        found = read(folder, "a.png,1,2,3,4,cat", columns=("filename", "xmin", "ymin", "xmax", "ymax", "class"))
        assert boxes(found) == {"a.png": [("cat", (1, 2, 3, 4))]}

    def test_names_without_ending_get_the_suffix(self, folder):
        found = read(folder, HEADER, "a,cat,1,2,3,4", "b.PNG,cat,1,2,3,4", "b.png,cat,1,2,3,4", suffix=".png")
        assert list(boxes(found)) == ["a.png", "b.png"]
        assert reasons(found) == {"b.PNG": "missing file"}

    def test_pictures_in_another_folder_by_relative_absolute_and_windows_paths(self, folder):
        (folder / "pictures" / "sub").mkdir(parents=True)
        for name in "xyz":
            Image.new("L", (4, 4)).save(folder / "pictures" / "sub" / f"{name}.png")
        rows = ("./sub/x.png,cat,1,2,3,4", f"{folder}/pictures/sub/y.png,cat,1,2,3,4", "sub\\z.png,cat,1,2,3,4")
        found = read(folder, HEADER, *rows, images=folder / "pictures")
        assert list(boxes(found)) == ["sub/x.png", "sub/y.png", "sub/z.png"]


class TestDialects:
    ROWS = (HEADER, "a.png,Über-größe,1,2,3,4")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_endings_and_a_byte_order_mark(self, folder, encoding, end):
        path = table(folder, *self.ROWS, "", end=end, encoding=encoding)
        assert boxes(CsvTable(path).read()) == {"a.png": [("Über-größe", (1, 2, 3, 4))]}

    @pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
    def test_another_encoding_is_an_error_until_it_is_named(self, folder, encoding):
        path = table(folder, *self.ROWS, encoding=encoding)
        with pytest.raises(ValueError, match=r"^encoding: boxes.csv is not text in utf-8-sig; pass encoding=, often"):
            CsvTable(path).read()
        assert CsvTable(path, encoding=encoding).read().names == ("Über-größe",)

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_two_bytes_a_character_without_a_mark_are_named(self, folder, encoding):
        path = table(folder, HEADER, "a.png,cat,1,2,3,4", encoding=encoding)
        with pytest.raises(ValueError, match=r"^encoding: .* every other byte is zero; pass encoding='utf-16-le' or"):
            CsvTable(path).read()
        assert len(CsvTable(path, encoding=encoding).read().entries) == 1

    def test_tabs_by_the_file_s_name_and_other_delimiters_by_argument(self, folder):
        rows = [row.replace(",", "\t") for row in self.ROWS]
        assert len(CsvTable(table(folder, *rows, name="boxes.tsv")).read().entries) == 1
        with pytest.raises(ValueError, match=r"^delimiter: expected ',' between .* pass delimiter='\\t'$"):
            CsvTable(table(folder, *rows)).read()
        assert len(CsvTable(table(folder, *rows), delimiter="\t").read().entries) == 1

    def test_quoted_fields_hold_delimiters_quotes_and_spaces(self, folder):
        found = read(folder, HEADER, '"a.png", "cat, ""big""", 1 , 2,3,4')
        assert boxes(found) == {"a.png": [('cat, "big"', (1, 2, 3, 4))]}

    def test_empty_lines_and_delimiters_at_the_end_are_nothing(self, folder):
        found = read(folder, "", HEADER, "", "a.png,cat,1,2,3,4,,", ",,,,,", "")
        assert (boxes(found), found.exclusions) == ({"a.png": [("cat", (1, 2, 3, 4))]}, ())

    def test_accents_of_one_character_or_two_are_one_name(self, folder):
        Image.new("L", (4, 4)).save(folder / unicodedata.normalize("NFD", "é.png"))
        found = read(folder, HEADER, unicodedata.normalize("NFC", "é.png,cat,1,2,3,4"))
        assert open_picture(found.entries[0]).size == (4, 4)


class TestFaults:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("b.png,cat,1,2,3,four", "box that is not four numbers"),
            ("b.png,cat,1,2,3,", "box that is not four numbers"),
            ("b.png,cat,,,,", "object without a box"),
            ("b.png,,1,2,3,4", "object without a class"),
            ("b.png,cat,1,2,3", "row with more or fewer fields than the header"),
            ("b.png,cat,1,2,3,4,5", "row with more or fewer fields than the header"),
            ("b.png,c\0t,1,2,3,4", "unreadable character in the row"),
            ("missing.png,cat,1,2,3,4", "missing file"),
            (".,cat,1,2,3,4", "a folder in place of the file"),
            ("empty.png,cat,1,2,3,4", "empty file"),
            ("pipe.png,cat,1,2,3,4", "neither file nor folder (a pipe, socket or device)"),
            ("loop.png,cat,1,2,3,4", "link that leads back to itself"),
            (f"{'x' * 300}.png,cat,1,2,3,4", "impossible file name"),
        ],
    )
    def test_a_picture_that_cannot_be_read_is_left_out_whole_with_the_reason(self, folder, row, reason):
        (folder / "empty.png").touch()
        os.mkfifo(folder / "pipe.png")
        (folder / "loop.png").symlink_to("loop.png")
        name = row.split(",")[0]
        found = read(folder, HEADER, "a.png,cat,1,2,3,4", f"{name},dog,5,6,7,8", row)
        assert boxes(found) == {"a.png": [("cat", (1, 2, 3, 4))]}
        assert found.exclusions == (Exclusion(name, reason),)
        assert found.names == ("cat", "dog")

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (",cat,1,2,3,4", "row without a picture"),
            ("\0.png,cat,1,2,3,4", "unreadable character in the row"),
            ("../secret.png,cat,1,2,3,4", "file name that leads out of the folder"),
            ("/etc/hosts,cat,1,2,3,4", "file name that leads out of the folder"),
        ],
    )
    def test_a_row_that_names_no_picture_is_named_by_its_line(self, folder, row, reason):
        found = read(folder, HEADER, "a.png,cat,1,2,3,4", row, "b.png,cat,5,6,7,8")
        assert list(boxes(found)) == ["a.png", "b.png"]
        assert found.exclusions == (Exclusion("boxes.csv, line 3", reason),)

    @pytest.mark.parametrize(
        "row",
        [
            'b.png,"dog" x,5,5,9,9',
            '"b.png" ,"dog,5,5,9,9',
            '"b.png","d""og" x,5,5,9,9',
            f"b.png,{'c' * 200_000},5,5,9,9",
            'b.png,dog,5,5,9,"9',
            'b.png,"dog\nx",5,5,9',
        ],
    )
    def test_a_broken_row_takes_its_picture_out_and_no_other(self, folder, row):
        lines = ["b.png,cat,1,2,30,40", row, *["a.png,cat,1,2,3,4"] * 3, '"a.png","cat",5,6,7,8']
        if "\n" in row:  # its second line alone is of nobody's picture
            lines[1:2] = row.split("\n")
        found = read(folder, HEADER, *lines)
        assert boxes(found) == {"a.png": [("cat", (1, 2, 3, 4))] * 3 + [("cat", (5, 6, 7, 8))]}
        assert reasons(found)["b.png"] == "row that is not delimited text"
        assert list(reasons(found)) == (["b.png", 'x"'] if "\n" in row else ["b.png"])

    @pytest.mark.parametrize(
        ("row", "options"),
        [('"b.png"x,dog,5,5,9,9', {}), ('"b.png,dog,5,5,9,9', {}), ('dog,"5" x,5,9,9,b.png', {"picture": "ymax"})],
    )
    def test_a_broken_row_of_which_the_picture_cannot_be_told_is_an_error(self, folder, row, options):
        with pytest.raises(ValueError, match=r"^file: boxes.csv, line 3 is not delimited text, and of which picture"):
            read(folder, HEADER, "a.png,cat,1,2,30,40", row, "a.png,cat,1,2,30,40", **options)

    def test_a_quote_that_nobody_closes_costs_its_own_picture_alone(self, folder):
        rows = [f"{'ab'[n % 2]}.png,cat,1,2,{n},4" for n in range(3, 1003)]
        found = read(folder, HEADER, 'c.png,"dog,5,5,9,9', *rows)
        assert [len(entry.objects) for entry in found.entries] == [500, 500]
        assert found.exclusions == (Exclusion("c.png", "row that is not delimited text"),)

    def test_a_quote_that_another_one_closes_by_chance_swallows_no_line(self, folder):
        rows = ['c.png,cat,1,2,3,"4', "b.png,cat,1,2,3,4", 'c.png,cat,1,2,3,4"']
        found = read(folder, HEADER, "a.png,cat,1,2,3,4", *rows, "b.png,dog,1,2,3,4")
        assert {name: [label for label, _ in objects] for name, objects in boxes(found).items()} == {
            "a.png": ["cat"],
            "b.png": ["cat", "dog"],
        }
        assert reasons(found) == {"c.png": "box that is not four numbers"}
        with pytest.raises(
            ValueError, match=r"line 3 is not delimited text, and of which picture it is cannot be told"
        ):
            read(folder, HEADER, "a.png,cat,1,2,3,4", '"b.png,cat,1,2,3,4', 'b.png",cat,1,2,3,4')

    def test_a_line_of_names_that_is_broken_is_said_and_not_passed_over(self, folder):
        with pytest.raises(ValueError, match=r"^file: expected a line with the names .* line 1 is not delimited text$"):
            read(folder, 'filename,"class" x,xmin', HEADER, "a.png,cat,1,2,30,40")

    def test_decimal_commas_are_named(self, folder):
        found = read(folder, HEADER.replace(",", ";"), "a.png;cat;1;2;3;4", "b.png;cat;1,5;2;3;4", delimiter=";")
        assert reasons(found) == {"b.png": "box that is not four numbers (with commas; write 1.5)"}

    def test_rows_that_disagree_on_a_size(self, folder):
        rows = ("a.png,cat,1,2,3,4,40,30", "b.png,cat,1,2,3,4,40,30", "b.png,cat,1,2,3,4,30,40")
        found = read(folder, HEADER + ",w,h", *rows, size=("w", "h"))
        assert reasons(found) == {"b.png": "rows that give one picture several sizes"}
        found = read(folder, HEADER + ",w,h", rows[0], "b.png,cat,1,2,3,4,40.5,nan", size=("w", "h"))
        assert reasons(found) == {"b.png": "size that is not two whole numbers"}

    def test_shares_of_a_picture_whose_header_cannot_be_read(self, folder):
        (folder / "b.png").write_bytes(b"no picture")
        found = read(folder, HEADER, "a.png,cat,0,0,1,1", "b.png,cat,0,0,1,1", normalised=True)
        assert reasons(found) == {"b.png": "not a picture"}


class TestErrors:
    def test_all_missing_columns_are_one_error_with_those_there_are(self, folder):
        with pytest.raises(ValueError) as caught:
            read(folder, "Filename,class,x0,ymin,xmax,ymax", "a.png,cat,1,2,3,4")
        assert str(caught.value) == (
            "picture, box: expected columns of boxes.csv ('Filename', 'class', 'x0', 'ymin', 'xmax', 'ymax'), got "
            "'filename', 'xmin'; did you mean 'Filename'?"
        )

    @pytest.mark.parametrize(
        ("lines", "options", "message"),
        [
            ([""], {}, r"^file: expected a table, got .*boxes.csv: empty file$"),
            (["\n\n"], {}, r"^file: expected a line with the names of the columns, "),
            ([HEADER], {}, r"^file: no picture of boxes.csv can be used, with images='.*': it has no rows$"),
            ([HEADER, "x,cat,1,2,3,4"], {}, r"^file: no picture of .* 1 x missing file \(x\)$"),
            (["filename,filename"], {}, r"^file: expected different names of columns, got 'filename' more than once$"),
            (
                ["sep=;", HEADER],
                {},
                r"^file: expected the names .* got 'sep=;', .* remove that line, and pass delimiter",
            ),
            (["a"], {"columns": ("a", "a")}, r"^columns: expected different names of columns, got 'a' more than once$"),
            (
                [HEADER],
                {"encoding": "no-such"},
                r"^encoding: expected the name of one, such as 'utf-8', got 'no-such'$",
            ),
            ([HEADER], {"box_format": "yxyx"}, r"^box_format: expected 'xyxy', 'xywh' or 'cxcywh', got 'yxyx'$"),
            ([HEADER], {"box": ("a", "b")}, r"^box: expected four columns, one, or None, got \('a', 'b'\)$"),
            ([HEADER], {"size": "wh"}, r"^size: expected the columns of width and height, got 'wh'$"),
            ([HEADER], {"delimiter": "::"}, r"^delimiter: expected one character, got '::'$"),
            ([HEADER, "a.png,cat,0,0,.5,1"], {}, r"^normalised: all coordinates of the boxes lie in 0 to 1; pass "),
            (
                [HEADER, "a.png,cat,0,0,9,9"],
                {"normalised": True},
                r"^normalised: expected coordinates in 0 to 1, but 1 of 1",
            ),
        ],
    )
    def test_what_is_wrong_with_the_whole_table(self, folder, lines, options, message):
        with pytest.raises(ValueError, match=message):
            read(folder, *lines, **options)

    def test_a_table_that_is_not_there(self, folder):
        with pytest.raises(FileNotFoundError, match=r"^file: expected a table, got .*none.csv: missing file$"):
            CsvTable(folder / "none.csv").read()

    def test_a_folder_of_pictures_that_is_not_there(self, folder):
        with pytest.raises(FileNotFoundError, match=r"^images: expected a folder, and there is none at .*none$"):
            read(folder, HEADER, "a.png,cat,1,2,3,4", images=folder / "none")


FIELD = st.one_of(
    st.sampled_from(
        ["a.png", "b.png", "cat", "1", "2.5", "-3", "nan", "1e999", "", " ", '"', "\0", "\ufeff", "..", "/", "é"]
    ),
    st.text(max_size=6),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(FIELD, max_size=8), max_size=8), raw=st.text(max_size=30), header=st.booleans())
def test_any_text_gives_annotations_or_an_error_of_ours(folder, rows, raw, header):
    text = "\n".join([HEADER] * header + [",".join(row) for row in rows] + [raw])
    (folder / "fuzz.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = CsvTable(folder / "fuzz.csv").read()
    except ValueError as error:
        found = str(error)
    if isinstance(found, str):
        assert found.startswith(("file: ", "picture", "label", "box", "encoding: ", "delimiter: ", "normalised: "))
        return
    assert isinstance(found, Annotations)
    assert {entry.source_id for entry in found.entries} <= {"a.png", "b.png", "fuzz.csv"}
    assert all(o.name in found.names and len(o.box) == 4 for entry in found.entries for o in entry.objects)


FINITE = st.floats(-1e6, 1e6).filter(lambda value: value > 1)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), min_size=1).filter(str.strip)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(NAME, FINITE, FINITE, FINITE, FINITE), min_size=1, max_size=5))
def test_what_the_standard_library_writes_is_read_as_it_was(folder, rows):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([HEADER.split(","), *(("a.png", *row) for row in rows)])
    (folder / "law.csv").write_bytes(stream.getvalue().encode())
    assert boxes(CsvTable(folder / "law.csv").read()) == {"a.png": [(row[0].strip(), tuple(row[1:])) for row in rows]}
