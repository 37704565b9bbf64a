"""What a report holds for print: fonts, series and tables that can be read back, methods."""

import json
import math
import re
import zlib
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from reporting import ODD, Reported

OWN = "day (this run)"


def pdf_objects(file: Path) -> dict[str, bytes]:
    """The objects of a PDF by number, streams included."""
    found = re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", file.read_bytes(), re.DOTALL)
    return {number.decode(): body for number, body in found}


def test_the_fonts_of_the_pdf_are_truetype_and_embedded(reported: Reported):
    objects = pdf_objects(reported.directory / "report.pdf")
    whole = b"\n".join(objects.values())
    assert len(re.findall(rb"/Type /Page\b", whole)) == 2
    assert b"/Type3" not in whole
    described = [body for body in objects.values() if b"/Type /FontDescriptor" in body]
    fonts = re.findall(rb"/BaseFont", whole)
    assert described and fonts
    for body in described:
        match = re.search(rb"/FontFile2 (\d+) 0 R", body)
        assert match, "a font that is described and not embedded"
        stream = objects[match[1].decode()].split(b"stream\n", 1)[1]
        program = zlib.decompressobj().decompress(stream)
        assert program.startswith(b"\x00\x01\x00\x00"), "no TrueType program"


@pytest.mark.parametrize("name", ["report", "courses"])
def test_an_svg_needs_no_font_and_nothing_from_outside(reported: Reported, name: str):
    text = (reported.directory / f"{name}.svg").read_text()
    root = ElementTree.fromstring(text)
    elements = list(root.iter())
    assert sum(element.tag.endswith("}path") for element in elements) > 100
    assert not [
        e.tag
        for e in elements
        if re.search(r"\}(text|tspan|image|style|script|font-face)$", e.tag) and "font" in (e.text or "font")
    ]
    references = [value for e in elements for key, value in e.attrib.items() if key.endswith("href")]
    references += re.findall(r"url\(([^)]*)\)", text)
    assert references and all(reference.startswith("#") for reference in references)
    assert "font-family" not in text


def test_power_and_emissions_add_up_to_what_the_summary_says_of_each_site(reported: Reported):
    summary = reported.summary
    for series, unit, total in (
        ("power", "power_kw", lambda site: sum(site["energy_kwh"].values())),
        ("emissions", "marginal_kg_co2_per_h", lambda site: site["emissions_kg"]),
    ):
        lines = [line for line in reported.lines(f"series/{series}.csv") if line["run"] == OWN]
        for name, site in summary["sites"].items():
            amount = math.fsum(
                float(line[unit]) * (float(line["to_h"]) - float(line["from_h"]))
                for line in lines
                if line["site"] == name
            )
            assert amount == pytest.approx(total(site), rel=1e-9), (series, name)


def test_a_stretch_emits_its_power_times_the_intensity_in_which_it_lies(reported: Reported):
    power, emissions = reported.lines("series/power.csv"), reported.lines("series/emissions.csv")
    intensity = [line for line in reported.lines("series/intensity.csv") if line["run"] == OWN]
    checked = 0
    for drew, emitted in zip(power, emissions, strict=True):
        assert [drew[key] for key in ("run", "site", "phase", "from_h", "to_h")] == [
            emitted[key] for key in ("run", "site", "phase", "from_h", "to_h")
        ]
        middle = (float(drew["from_h"]) + float(drew["to_h"])) / 2
        for line in intensity:
            within = float(line["from_h"]) <= middle < float(line["to_h"])
            if within and (drew["run"], drew["site"]) == (OWN, line["site"]):
                expected = float(drew["power_kw"]) * float(line["g_co2_per_kwh"]) / 1000
                assert float(emitted["marginal_kg_co2_per_h"]) == pytest.approx(expected)
                checked += 1
    assert checked > 50


def test_the_series_of_a_run_and_of_one_that_crashed_are_whole(reported: Reported):
    trained = reported.lines("series/training.csv")
    for name, place in ((OWN, reported.directory), (ODD, reported.crashed)):
        own = [line for line in trained if line["run"] == name]
        steps = 0
        for file in (place / "events").glob("*.jsonl"):
            told = file.read_text().split("\n")
            whole = told if name == OWN else told[:-1]  # the last line is torn
            steps += sum(json.loads(line)["event"] == "step" for line in whole if line)
        assert len(own) == steps
        assert all(int(b["tokens_trained"]) > int(a["tokens_trained"]) for a, b in pairwise(own))
        for line in own[::40]:
            raw = math.exp(float(line["loss_nats_per_token"]))
            assert float(line["perplexity_per_token"]) == pytest.approx(raw)
    versions = [line for line in reported.lines("series/versions.csv") if line["run"] == OWN]
    assert (len(versions), int(versions[-1]["chain_tokens"])) == (42, reported.summary["tokens"])
    held_out = [line for line in reported.lines("series/held_out.csv") if line["run"] == OWN]
    assert float(held_out[-1]["bits_per_byte"]) == reported.summary["loss"]["val_bpb"]
    assert float(held_out[-1]["perplexity_per_byte"]) == 2 ** float(held_out[-1]["bits_per_byte"])


def test_the_table_says_what_the_summary_says_and_leaves_empty_what_is_unknown(reported: Reported):
    own, crashed, left = reported.lines("table.csv")
    summary = reported.summary
    assert (own["run"], crashed["run"], left["run"]) == (OWN, ODD, "day")
    assert [line["finished"] for line in (own, crashed, left)] == ["true", "false", "true"]
    assert float(own["energy_kwh"]) == summary["energy_kwh"]
    assert float(own["marginal_kg_co2"]) == summary["emissions_kg"]
    assert float(own["best_held_out_bits_per_byte"]) == summary["loss"]["best_val_bpb"]
    assert float(own["energy_in_windows_percent"]) == pytest.approx(100 * summary["share_in_window"])
    assert own["gpu_h"] == own["average_kg_co2"] == ""  # no config.yaml, no average intensity
    drew = [line for line in reported.lines("series/power.csv") if line["run"] == ODD]
    spent = math.fsum(
        float(line["power_kw"]) * (float(line["to_h"]) - float(line["from_h"])) for line in drew
    )
    assert float(crashed["energy_kwh"]) == pytest.approx(spent)
    assert float(crashed["run_time_h"]) == pytest.approx(6.2, abs=0.1)
    assert (left["run_time_h"], left["energy_kwh"]) == ("9.5", "")
    for name, line in ((OWN, own), (ODD, crashed)):
        smooth = [
            float(value)
            for step in reported.lines("series/training.csv")
            if step["run"] == name
            for key, value in step.items()
            if key.startswith("smoothed_perplexity_half_life_")
        ]
        assert float(line["best_training_perplexity_per_token"]) == min(smooth)


def test_the_latex_table_is_one_that_booktabs_sets(reported: Reported):
    text = (reported.directory / "table.tex").read_text()
    code = [line for line in text.splitlines() if not line.startswith("%")]
    begin = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", code[0])
    assert begin and code[-1] == r"\end{tabular}"
    rules = [line for line in code if re.fullmatch(r"\\(top|mid|bottom)rule", line)]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert (code[1], code[4], code[-2]) == tuple(rules)
    rows = [line for line in code[1:-1] if line not in rules]
    assert len(rows) == 2 + 3
    cells = []
    for row in rows:
        assert row.endswith(r" \\")
        bare = re.sub(r"\\[&%$#_{}]|\\text[a-z]+\{\}|\$10\^6\$|CO\$_2\$", "", row[:-3])
        assert not re.search(r"[%$#_{}~^<>\\]", bare), "a letter that means something to LaTeX"
        cells.append(re.split(r"(?<!\\)&", row[:-3]))
        assert len(cells[-1]) == len(begin[1]) == 11
    assert cells[3][0].strip() == r"a\_b \& 50\% \textless{}i\textgreater{} (unfinished)"
    assert cells[2][4].strip() == f"{reported.summary['energy_kwh']:.3f}"
    assert [cell.strip() for cell in cells[4][4:7]] == ["--", "2.250", "--"]


def test_the_methods_say_of_this_run_what_was_assumed_and_stand_on_the_page(reported: Reported):
    text = (reported.directory / "methods.md").read_text()
    assert "Its clock was virtual" in text
    assert "energy was modelled, not measured" in text.lower()
    assert "2024 W training" in text
    assert "synthetic, made up" in text
    page = (reported.directory / "report.html").read_text()
    for paragraph in text.strip().split("\n\n"):
        title = re.match(r"\*\*(.+?)\.\*\*", paragraph)
        assert title and f"<b>{title[1]}.</b>" in page
