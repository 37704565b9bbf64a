from datetime import UTC, datetime

import pytest

from curtail_dist.energy.traces import read_trace
from curtail_dist.errors import TraceError

ROWS = "time,g_per_kwh\n2026-03-21T17:00:00+00:00,50\n2026-03-21T17:05:00+00:00,150\n"


def test_rows_become_a_series_over_run_time(write):
    series = read_trace(write(ROWS)).series(datetime(2026, 3, 21, 17, 1, tzinfo=UTC))
    assert series.edges == (-60.0, 240.0, 540.0)
    assert series.values == (50.0, 150.0)


def test_the_last_row_holds_as_long_as_the_one_before(write):
    assert read_trace(write(ROWS)).end == datetime(2026, 3, 21, 17, 10, tzinfo=UTC)


def test_a_naive_time_is_utc_and_an_offset_is_honoured(write):
    path = write("time,g_per_kwh\n2026-03-21T17:00:00,50\n2026-03-21T13:05:00-04:00,60\n")
    assert read_trace(path).times == (
        datetime(2026, 3, 21, 17, 0, tzinfo=UTC),
        datetime(2026, 3, 21, 17, 5, tzinfo=UTC),
    )


def test_a_leading_comment_marks_a_synthetic_trace(write):
    assert read_trace(write("# synthetic: made up\n" + ROWS)).synthetic
    assert not read_trace(write("# measured by hand\n" + ROWS)).synthetic
    assert not read_trace(write(ROWS)).synthetic


def test_columns_are_found_by_name_among_others(write):
    path = write("a,moer,when\n1,50,2026-03-21T17:00:00Z\n2,60,2026-03-21T17:05:00Z\n")
    assert read_trace(path, time_column="when", value_column="moer").values == (50.0, 60.0)


def test_blank_lines_and_a_byte_order_mark_do_no_harm(write):
    assert read_trace(write("\ufeff" + ROWS + "\n\n")).values == (50.0, 150.0)


HEAD = "time,g_per_kwh\n2026-03-21T17:00:00Z,50\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("time,g_per_kwh\n", "0 rows"),
        (HEAD, "1 rows"),
        ("time,carbon\n2026-03-21T17:00:00Z,50\n", "no such"),
        (HEAD + "noon,50\n", "'noon'"),
        (HEAD + "2026-03-21T17:05:00Z,high\n", "'high'"),
        (HEAD + "2026-03-21T17:05:00Z,\n", "''"),
        (HEAD + "2026-03-21T17:05:00Z,nan\n", "'nan'"),
        (HEAD + "2026-03-21T17:05:00Z,inf\n", "'inf'"),
        (HEAD + "2026-03-21T17:05:00Z,-1\n", "'-1'"),
        (HEAD + "2026-03-21T17:00:00Z,50\n", "again"),
        (HEAD + "2026-03-21T16:55:00Z,50\n", "rise"),
        (HEAD + "2026-03-21T17:05:00Z\n", "1 cells"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line_that_names_the_file(write, text, says):
    path = write(text)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert says in message or says == "no such"


def test_a_local_hour_that_comes_twice_is_told_as_one_without_a_zone(write):
    rows = "2026-11-01T01:00:00{0},50\n2026-11-01T02:00:00{0},50\n2026-11-01T01:00:00{0},50\n"
    with pytest.raises(TraceError, match=r"times must rise.*names no zone and is taken for UTC"):
        read_trace(write(HEAD.splitlines()[0] + "\n" + rows.format("")))
    with pytest.raises(TraceError, match=r"times must rise: sort the rows, one for each time$"):
        read_trace(write(HEAD.splitlines()[0] + "\n" + rows.format("+00:00")))


def test_a_missing_column_is_named_with_those_that_exist(write):
    with pytest.raises(
        TraceError, match=r"'time', 'carbon'.* in time_column and value_column, and give unit$"
    ):
        read_trace(write("time,carbon\n2026-03-21T17:00:00Z,50\n"))


def test_an_error_names_the_line_of_the_file_comments_counted(write):
    path = write("# synthetic: x\n# more\n" + HEAD + "2026-03-21T17:05:00Z,high\n")
    with pytest.raises(TraceError, match=r"trace\.csv:5:"):
        read_trace(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(
        TraceError, match=r"none.csv cannot be read \(.*\); path must name an existing CSV file"
    ):
        read_trace(tmp_path / "none.csv")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="UTF-8"):
        read_trace(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("header", "row", "value", "basis"),
    [
        ("time,g_per_kwh", "{},100", 100.0, "marginal"),
        ("point_time,value,region,signal_type", "{},1000,CAISO_NORTH,co2_moer", 453.59237, "marginal"),
        (
            "Datetime (UTC),Country,Zone Name,Carbon Intensity gCO\u2082eq/kWh (direct),"
            "Carbon Intensity gCO\u2082eq/kWh (Life cycle)",
            "{},GB,Great Britain,90,120",
            120.0,
            "average",
        ),
        (
            "Datetime (UTC),Carbon intensity gCO\u2082eq/kWh (direct),"
            "Carbon intensity gCO\u2082eq/kWh (Life cycle)",
            "{},90,121",
            121.0,
            "average",
        ),
        (",carbon", "{},55", 55.0, "marginal"),
        ("Unnamed: 0,solar", "{},56", 56.0, "marginal"),
    ],
    ids=["own", "WattTime", "Electricity Maps", "newer Electricity Maps", "Vessim", "pandas"],
)
def test_columns_are_told_by_the_header_with_unit_and_basis(write, header, row, value, basis):
    rows = [row.format(at) for at in ("2026-03-21 17:00:00", "2026-03-21 17:05:00")]
    trace = read_trace(write("\n".join([header, *rows])))
    assert trace.values == pytest.approx((value, value))
    assert trace.basis == basis


def test_a_unit_that_is_given_counts(write):
    text = "time,moer\n2026-03-21T17:00:00Z,100\n2026-03-21T17:05:00Z,200\n"
    trace = read_trace(write(text), time_column="time", value_column="moer", unit="lb/MWh")
    assert trace.values == pytest.approx((45.359237, 90.718474))


def test_a_header_in_which_two_columns_would_fit_is_refused(write):
    text = "point_time,value,value_2\n2026-03-21T17:00:00Z,100,1\n2026-03-21T17:05:00Z,200,2\n"
    with pytest.raises(TraceError, match="must be clear"):
        read_trace(write(text))


TWO = "2026-03-21 17:00:00,{0}\n2026-03-21 17:05:00,{0}\n"


@pytest.mark.parametrize("index", ["time", "Timestamp", ""])
def test_where_only_the_value_is_named_times_are_the_known_or_the_first_column(write, index):
    path = write(f"{index},DE,FR\n" + TWO.format("300,50"))
    assert read_trace(path, value_column="FR").values == (50.0, 50.0)


def test_times_that_are_known_count_though_they_do_not_come_first(write):
    path = write("zone,time,moer\nx,2026-03-21T17:00:00Z,1\nx,2026-03-21T17:05:00Z,2\n")
    assert read_trace(path, value_column="moer").values == (1.0, 2.0)


@pytest.mark.parametrize(
    ("header", "named", "value", "basis"),
    [
        ("point_time,value", "value", 453.59237, "marginal"),
        ("Datetime (UTC),Carbon intensity gCO\u2082eq/kWh (direct)", "", 1000.0, "average"),
        (
            "Datetime (UTC),Carbon intensity gCO\u2082eq/kWh (direct)",
            "Carbon intensity gCO\u2082eq/kWh (direct)",
            1000.0,
            "average",
        ),
    ],
)
def test_a_known_column_has_its_unit_and_basis_though_it_is_named(write, header, named, value, basis):
    trace = read_trace(write(f"{header}\n" + TWO.format("1000")), value_column=named)
    assert (trace.values[0], trace.basis) == (pytest.approx(value), basis)


def test_rows_of_watttime_say_what_they_are(write):
    rows = "point_time,value,signal_type\n" + TWO.format("1000,{0}")
    assert read_trace(write(rows.format("co2_moer"))).basis == "marginal"
    assert read_trace(write(rows.format("co2_aoer"))).basis == "average"
    with pytest.raises(TraceError, match="signal_type 'health_damage'; all must be of one of 'co2_moer'"):
        read_trace(write(rows.format("health_damage")))


def test_rows_of_watttime_that_are_of_two_kinds_are_refused(write):
    rows = "point_time,value,signal_type\n2026-03-21T17:00:00Z,1,co2_moer\n2026-03-21T17:05:00Z,1,co2_aoer\n"
    with pytest.raises(TraceError, match="'co2_aoer', 'co2_moer'"):
        read_trace(write(rows))


def test_two_columns_that_could_be_times_are_refused(write):
    with pytest.raises(TraceError, match="must be clear"):
        read_trace(write("time,point_time,g_per_kwh\n" + TWO.format("2026-03-21 17:00:00,1")))


def test_where_only_times_are_named_the_value_is_known_by_its_name(write):
    assert read_trace(write("when,g_per_kwh\n" + TWO.format("5")), time_column="when").values == (5.0, 5.0)
    with pytest.raises(TraceError, match="must be clear"):
        read_trace(write("when,value\n" + TWO.format("5")), time_column="when")


def test_gaps_are_told_of_a_file_whose_rows_come_by_the_clock(write):
    def rows(hours):
        return "time,g_per_kwh\n" + "".join(f"2026-03-21T{hour:02d}:00:00Z,50\n" for hour in hours)

    gaps = read_trace(write(rows(hour for hour in range(24) if hour not in (5, 6)))).gaps
    assert gaps == [(datetime(2026, 3, 21, 5, tzinfo=UTC), datetime(2026, 3, 21, 7, tzinfo=UTC))]
    assert read_trace(write(rows(range(24)))).gaps == []
    as_they_change = read_trace(write(rows([0, 3, 4, 9, 10, 20])))
    assert (as_they_change.usual_step, as_they_change.gaps) == (None, [])
