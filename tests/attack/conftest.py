"""At the end of `make attack`: what was tried, by kind."""

import pytest
from attack.counts import LONG, lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LONG:
        terminalreporter.section("attacks")
        for line in lines():
            terminalreporter.write_line(line)
