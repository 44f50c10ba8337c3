"""Backtests: the desk's own engine against the paper exchange in one process. Reads tape files."""

from don.backtest.config import BacktestConfig
from don.backtest.result import BacktestResult
from don.backtest.run import run

__all__ = ["BacktestConfig", "BacktestResult", "run"]
