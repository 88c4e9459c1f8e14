"""What the product uses of Great Expectations, so that a release that changes it fails here by name.

`make test-gx GX=1.23.2` runs this room's tests with another release of the package.
"""


from data_checks import gx
from data_checks.checks import Check, MeasuredCheck


def test_an_expectation_judges_a_figure_that_it_is_given() -> None:
    for least, most, value, verdict in ((0, 2, 1, True), (0, 2, 3, False), (None, 2, 2, True), (1, None, 0.5, False)):
        result = gx.judge(MeasuredCheck(Check("mean", "n", min=least, max=most, severity="warning"), value))
        assert (result.success, result.result["observed_value"]) == (verdict, value)
        assert result.expectation_config.kwargs["column"] == "mean n"
    rows = MeasuredCheck(Check("between", "n", max=2, mostly=0.5), 0.4, 10, 6)
    assert gx.judge(rows).success is False
    assert gx.judge(MeasuredCheck(Check("mean", "n", min=0), None)).success is False, "there is no figure"


def test_the_result_of_a_suite_is_one_that_its_stores_accept() -> None:
    results = [gx.judge(MeasuredCheck(Check("mean", "n", min=0, description="Sound"), value)) for value in (1, -1)]
    whole = gx.suite_result("mine", "a run", 10, ["n"], results).to_json_dict()
    assert (whole["success"], whole["statistics"]["successful_expectations"]) == (False, 1)
