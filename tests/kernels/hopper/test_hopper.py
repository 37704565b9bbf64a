"""Every shipped launch is fit for Hopper, by the installed Triton and by the oldest that must do."""

import pytest
from figures import SHARED_AT_MOST, Figures, broken, count_opcodes
from tritons import OLDER, Triton, Unavailable, compile_all, installed, older, recorded, table

pytestmark = [pytest.mark.timeout(1200), pytest.mark.hopper]


@pytest.fixture(scope="module", params=["installed", OLDER])
def triton(request: pytest.FixtureRequest) -> Triton:
    try:
        return installed() if request.param == "installed" else older()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def shipped(triton: Triton) -> list[Figures]:
    """From the record where that is of these sources; `tritons.py --record` renews it."""
    return recorded(triton) or compile_all(triton)


def test_every_shipped_launch_is_fit_for_hopper(shipped: list[Figures]) -> None:
    assert {one.label: what for one in shipped if (what := broken(one))} == {}


@pytest.mark.parametrize("kernel", ["forward", "dq", "dkdv"])
@pytest.mark.parametrize("D", [64, 128])
def test_attention_is_compiled_on_both_paths(shipped: list[Figures], kernel: str, D: int) -> None:
    labels = [one.label.split() for one in shipped if one.label.startswith(f"{kernel} D {D} ")]
    found = {("tma" if "tma" in words else "pointers", "window" in words) for words in labels}
    assert found == {("tma", False), ("tma", True), ("pointers", False), ("pointers", True)}


def test_every_launch_is_compiled_for_both_16_bit_types(shipped: list[Figures]) -> None:
    labels = {one.label for one in shipped if not one.label.startswith(("encode", "decode"))}
    plain = {label for label in labels if not label.endswith(" fp16")}
    assert plain
    assert labels == plain | {f"{label} fp16" for label in plain}


def test_what_is_not_fit_is_found(triton: Triton) -> None:
    found = {one.label: broken(one) for one in compile_all(triton, "unfit")}
    assert found.pop("fit") == []
    assert found.pop("fit tma") == ["the TMA path, but no descriptor"]
    assert "16-bit products, but no HGMMA" in found.pop("old units")
    assert found.pop("conversions") == ["64 conversions of one number"]
    assert any("instructions on local memory" in what for what in found["spills"])
    assert any("a stack of" in what for what in found.pop("spills"))
    assert any("shared memory, more than" in what for what in found.pop("shared memory"))
    assert found == {}


def test_opcodes_are_counted_whatever_predicate_stands_before_them() -> None:
    listing = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 STL.64 [R1+0x8], R2 ;
        /*0020*/              @UP1 UTMALDG.4D [UR4], [UR6] ;
        /*0030*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0040*/               @P3 STL [R1], R2 ;
    """
    assert count_opcodes(listing) == {"LDC": 1, "STL": 2, "UTMALDG": 1, "HGMMA": 1}


def _figures(label: str, **changed: int | bool) -> Figures:
    plain = {
        "kernel": "k", "num_warps": 8, "num_stages": 2, "registers": 200, "shared": SHARED_AT_MOST,
        "stack": 0, "spills": 0, "hgmma": 8, "hmma": 0, "tma_loads": 2,
        "conversions": 0, "wants_hgmma": True, "wants_tma": True,
    }  # fmt: skip
    return Figures(label=label, **{**plain, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"stack": 8},
        {"spills": 1},
        {"shared": SHARED_AT_MOST + 1},
        {"hgmma": 0},
        {"hmma": 1},
        {"tma_loads": 0},
        {"conversions": 1},
        {"wants_tma": False},
    ],
)
def test_each_rule_is_held(changed: dict[str, int]) -> None:
    assert broken(_figures("forward tma")) == []
    assert len(broken(_figures("forward tma", **changed))) == 1


def test_the_table_has_a_row_for_each_launch_and_a_column_for_each_version() -> None:
    found = {"3.9": [_figures("a", registers=7), _figures("b")], "3.6": [_figures("a", registers=9)]}
    head, _, a, b = table(found).splitlines()
    assert "registers, 3.9 | registers, 3.6" in head
    assert a.startswith("| a | 8 | 2 | 7 | 9 |")
    assert b.startswith("| b | 8 | 2 | 200 |  |")


def test_a_triton_that_is_not_on_record_is_not_taken_from_it() -> None:
    assert recorded(Triton("0.0.1")) is None
