"""Backtests: the desk's own engine against the paper exchange in one process. Reads tape files."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from don.backtest.config import BacktestConfig
from don.backtest.result import BacktestResult

if TYPE_CHECKING:
    from don.backtest.run import run

__all__ = ["BacktestConfig", "BacktestResult", "run"]


class _Package(ModuleType):
    """This package, which loads `run` when it is asked for: who reads results needs no engine."""

    @property
    def run(self) -> Any:
        """The function, not the module of its name."""
        return import_module("don.backtest.run").run

    @run.setter
    def run(self, module: ModuleType) -> None:
        """Once loaded, a module is put here by Python: the function stays."""


sys.modules[__name__].__class__ = _Package
