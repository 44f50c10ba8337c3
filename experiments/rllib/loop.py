"""Runs a training: iterations, progress, checkpoints, the exported model. Needs Ray to be there."""

import logging
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm

from don.clock import iso
from don.envs import EnvMarket
from don.envs.completeness import completeness, weak
from don.errors import DataError, Interrupted
from don.learning.card import Trained
from don.learning.model import Model, card_of, plain
from experiments.begun import versions
from experiments.fitting import fitting, network, trained_on
from experiments.rllib import checkpoints, progress
from experiments.rllib.checkpoints import Counters
from experiments.rllib.errors import FAILED, TrainingDiverged, check_noted
from experiments.rllib.market_file import write_market
from experiments.rllib.setup import build_config
from experiments.rllib.stopping import Stop
from experiments.training_config import TrainConfig

Tell = Callable[[str], None]
Weights = dict[str, dict[str, Any]]
MARKET, MODEL, BEST = "market.npz", "model", "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a training."""

    out: Path
    model: Path  # folder of the exported model, as it was at the end
    best: Path | None  # of the one with the greatest mean return
    iterations: int
    steps: int  # agent-steps
    seconds: float
    returns: float | None  # mean return of the last episodes, an agent
    reason: str  # why it is over: steps, seconds, iterations, target
    data: dict[str, Any]  # source, and the share of its minutes in each state


class Training:
    """A training in a folder; building one touches nothing.

    Args:
        config: what to train.
        market: bars to train on.
        tell: takes lines about progress.
        resume: go on from the folder's last checkpoint.
        every_s: seconds between lines about progress.
        notes: for the model's card: `Research.stamp`, where it was counted.

    Raises:
        DataError, ConfigError: if data and configuration do not fit: nothing has begun then.
    """

    def __init__(
        self, config: TrainConfig, market: EnvMarket, tell: Tell = print, *, resume: bool = False,
        every_s: float = 2.0, notes: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.notes, self.parent = dict(notes or {}), ""  # what it goes on from, if another's
        self.config, self.market, self._tell, self._every_s = config, market, tell, every_s
        self.env, self.mapping = fitting(config, market)  # refuses what cannot be trained
        self.data = completeness(market)
        self.card = card_of(
            self.env, network(config), self.mapping, name=config.name, seed=config.seed
        )
        self.begun = versions(self.card.feature_hash, self.card.reward_code)
        self.out = config.out
        self.counters = Counters(started_ns=time.time_ns())
        self._resume = resume
        self._found: checkpoints.Found | None = None
        self._best: tuple[Weights, checkpoints.Counters] | None = None
        self._pace = progress.Pace()
        self._inside = False  # an iteration, of which nothing is to be kept if it is broken off
        self._told = -math.inf

    def run(self) -> Outcome:
        """Train until it is over.

        Raises:
            TrainingDiverged: if a loss or a weight is no number any more.
            Interrupted: if it was stopped; a checkpoint is written first.
        """
        self.begin()
        return self.go()

    def find(self) -> checkpoints.Found:
        """The checkpoints that it may go on from. Those that are torn are told.

        Raises:
            DataError: if there are checkpoints, but none can be read.
            UsageError: if they are of other features, or of another version.
        """
        if self._found is None:
            self._found = checkpoints.Found(self.out if self._resume else None, self._tell)
            self._found.check(self.begun)
        return self._found

    def begin(self) -> int:
        """Build everything, and take the newest checkpoint that can be read; then `go`.

        Returns:
            The iteration after which it goes on; 0: from the start.

        Raises:
            DataError, UsageError: as `find`.
        """
        if short := weak(self.data):
            self._tell(f"the data are not all complete: {short}")
        found = self.find()
        while (newest := found.newest()) is not None:
            self.start(resumed=newest[1].iteration)
            try:
                self.restore(newest[0])
                self.go_on(newest[1])
                break
            except DataError as error:  # of an older Don, which did not keep what its files were
                self.close()
                found.drop(error)
            except BaseException:
                self.close()
                raise
        else:
            self.start()
            self.go_on(self.counters)
        found.put_aside()
        if self.counters.iteration:
            self._tell(f"goes on after iteration {self.counters.iteration}")
        return self.counters.iteration

    def go(self) -> Outcome:
        """Train on from where `begin` stands, and give everything back."""
        try:
            return self._loop(self.algorithm)
        finally:
            self.close()

    def start(self, *, resumed: int = 0) -> None:
        """Build everything; `go_on` must follow before the first step.

        Args:
            resumed: iterations that were done before: episodes are not drawn again.
        """
        torch.set_num_threads(1)
        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / FAILED).unlink(missing_ok=True)  # of an earlier process
        path = (self.out / MARKET).absolute()
        write_market(trained_on(self.market, self.config), path)
        made = build_config(self.config, self.env, path, resumed=resumed)
        self.algorithm = made.build_algo()
        # which lines of an earlier process stay is known when its state is there
        self._log = progress.Progress(self.out, after=sys.maxsize, tensorboard=False)

    def restore(self, checkpoint: Path) -> None:
        """Take a checkpoint's state; the learning rate stays that of the configuration.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            self.algorithm.restore_from_path(str(checkpoint.absolute()))
        except Exception as error:  # pickles of any state of decay raise what they like
            told = (str(error).splitlines() or [""])[0]
            raise DataError(
                f"checkpoint {checkpoint} cannot be read: {type(error).__name__}: {told}"
            ) from error
        rate = self.config.algorithm.lr

        def set_rate(learner: Any) -> None:
            for policy in learner.module.keys():
                for _, optimizer in learner.get_optimizers_for_module(policy):
                    for group in optimizer.param_groups:
                        group["lr"] = rate

        self.algorithm.learner_group.foreach_learner(set_rate)

    def go_on(self, counters: Counters) -> None:
        """Count from where the state stands; lines about what came after it are dropped."""
        self.counters, self._best = counters, None
        self._log.close()
        self._log = progress.Progress(
            self.out, after=counters.iteration, tensorboard=self.config.keep.tensorboard
        )

    def step(self) -> progress.Row:
        """One iteration."""
        return self._step(self.algorithm, self._log)

    def close(self) -> None:
        """Give everything back."""
        self._log.close()
        self.algorithm.stop()
        shutil.rmtree(self.algorithm.logdir, ignore_errors=True)  # empty; RLlib makes it at home

    def export(self) -> None:
        """Write the model as it is now, and the best one."""
        self._write_best()
        now = weights_of(self.algorithm, self.mapping)
        self._export(now, self.counters).save(self.out / MODEL)

    # ---- inside ----------------------------------------------------------------------------------

    def _loop(self, algorithm: Algorithm) -> Outcome:
        try:
            with Stop() as stop:
                while (reason := self._over()) is None:
                    if stop.asked:
                        raise KeyboardInterrupt
                    self.step()
                    if self.counters.iteration % self.config.keep.every == 0:
                        self._keep(algorithm)
        except KeyboardInterrupt:
            number = self.counters.iteration
            if self._inside:
                kept = [int(folder.name) for folder in checkpoints.all_of(self.out)[-1:]]
                raise Interrupted(
                    f"stopped inside iteration {number + 1}, of which nothing is kept; --resume "
                    + (f"goes on after iteration {kept[0]}" if kept else "begins anew")
                ) from None
            if number:
                self._keep(algorithm)
            raise Interrupted(f"stopped after iteration {number}; --resume goes on") from None
        self._keep(algorithm)
        self.export()
        done = self.counters
        return Outcome(
            out=self.out, model=self.out / MODEL,
            best=self.out / BEST if (self.out / BEST).exists() else None,
            iterations=done.iteration, steps=done.steps, seconds=done.seconds,
            returns=done.returns, reason=reason, data=self.data,
        )  # fmt: skip

    def _keep(self, algorithm: Algorithm) -> None:
        """Write the best model and a checkpoint."""
        self._write_best()
        self._log.sync()
        checkpoints.save(
            algorithm, self.counters, self.out, self.config.keep.checkpoints, self.begun
        )

    def _over(self) -> str | None:
        stop, done = self.config.stop, self.counters
        if stop.target is not None and done.returns is not None and done.returns >= stop.target:
            return "target"
        for name, value, limit in (
            ("steps", done.steps, stop.steps),
            ("seconds", done.seconds, stop.seconds),
            ("iterations", done.iteration, stop.iterations),
        ):
            if limit is not None and value >= limit:
                return name
        return None

    def _step(self, algorithm: Algorithm, log: progress.Progress) -> progress.Row:
        begin = time.monotonic()
        number = self.counters.iteration + 1
        self._inside = True
        try:
            result = algorithm.train()
        except Exception as error:
            self._look(algorithm, number, {}, error)
            raise
        check_noted(self.out)
        took = time.monotonic() - begin
        measured = getattr(self.config.algorithm, "kl_target", None) is not None
        told = progress.losses(result, kl=measured)
        self._look(algorithm, number, told, None)
        steps = progress.sampled(result)
        reached = progress.returns(result, len(self.mapping))
        self._pace.add(took, steps)
        mean, workers = reached["mean"], self.config.workers
        self.counters = replace(
            self.counters, iteration=number, steps=self.counters.steps + steps,
            seconds=self.counters.seconds + took,
            returns=self.counters.returns if mean is None else mean,
            episodes=self.counters.episodes + progress.ended(result),
        )  # fmt: skip
        # the mean of a few first episodes says nothing: each copy has to have ended one
        enough = self.counters.episodes >= workers.copies * max(workers.runners, 1)
        best = self.counters.best
        if mean is not None and enough and (best is None or mean > best):
            self.counters = replace(self.counters, best=mean)
            self._best = weights_of(algorithm, self.mapping), self.counters
        row = {
            "iteration": number, "steps": self.counters.steps,
            "seconds": round(self.counters.seconds, 3), "episode_return": reached,
            "losses": told,
            "episodes": progress.ended(result), "episode_bars": self.config.env.episode.length,
            "steps_per_s": round(self._pace.steps_per_s, 1),
            "eta_s": self._left(),
            "runners": algorithm.env_runner_group.num_healthy_remote_workers(),
        }  # fmt: skip
        self._inside = False
        log.write(row)
        self._say(row)
        return row

    def _left(self) -> float | None:
        """Seconds that are left, if it goes on as lately."""
        stop, done = self.config.stop, self.counters
        return self._pace.left(
            steps=None if stop.steps is None else stop.steps - done.steps,
            seconds=None if stop.seconds is None else stop.seconds - done.seconds,
            iterations=None if stop.iterations is None else stop.iterations - done.iteration,
        )

    def _say(self, row: progress.Row) -> None:
        now = time.monotonic()
        if now - self._told < self._every_s and self._over() is None:
            return
        self._told = now
        mean = self.counters.returns
        gained = "-" if mean is None else f"{mean:+.4f}"
        loss = max((abs(p.get("loss", 0.0)) for p in row["losses"].values()), default=0.0)
        self._tell(
            f"iteration {row['iteration']:>5}  {row['steps']:>11,} steps  return {gained}  "
            f"loss {loss:.3g}  {row['steps_per_s']:,.0f} steps/s  {row['eta_s'] or 0:,.0f} s left"
        )

    def _look(
        self, algorithm: Algorithm, number: int, told: dict[str, dict[str, float]],
        error: Exception | None,
    ) -> None:  # fmt: skip
        """Stop if a loss or a weight is no number any more: what follows would be worthless."""
        bad = [
            f"{name} of policy {policy} was {figures[name]}"
            for policy, figures in told.items()
            for name in ("loss", "policy_loss", "value_loss")
            if not math.isfinite(figures.get(name, 0.0))
        ]
        if not bad:
            for policy, weights in weights_of(algorithm, self.mapping).items():
                wrong = [name for name, w in weights.items() if not np.isfinite(w).all()]
                if wrong:
                    bad.append(f"weights {wrong[0]} of policy {policy} are no numbers")
        if not bad:
            return
        asked = self.config.algorithm
        known = checkpoints.all_of(self.out)
        kept = f"last good checkpoint: {known[-1]}" if known else "there is no checkpoint yet"
        raise TrainingDiverged(
            f"training diverged in iteration {number}: {bad[0]}; {kept}",
            f"lower algorithm.lr (was {asked.lr}) or algorithm.grad_clip (was {asked.grad_clip}) "
            f"and go on with --resume, or algorithm.reward_scale (was {asked.reward_scale}) and "
            "begin anew",
        ) from error

    def _write_best(self) -> None:
        if self._best is not None:
            self._export(*self._best).save(self.out / BEST)
            self._best = None

    def _export(self, weights: Weights, done: checkpoints.Counters) -> Model:
        config = self.config
        known = {"episode_return": done.returns, "best_episode_return": done.best}
        card = self.card.model_copy(
            update={
                "algorithm": config.algorithm.name, "parent": self.parent,
                "trained": Trained(
                    steps=done.steps, seconds=done.seconds, started_ns=done.started_ns,
                    ended_ns=time.time_ns(),
                ),
                "data_source": str(self.data["source"]),
                "data_shares": {
                    k: v for k, v in self.data.items() if isinstance(v, float)
                },
                "in_sample": {k: v for k, v in known.items() if v is not None},
                "notes": {  # an evaluation begins behind what was trained on
                    "data_start": iso(int(self.market.close_ns[0])),
                    "data_end": iso(int(self.market.close_ns[-1])),
                    **self.notes,
                },
            }
        )  # fmt: skip
        return Model(card=card, weights=weights, states=self.env.states)


def weights_of(algorithm: Algorithm, mapping: dict[str, str]) -> Weights:
    """The networks' weights as arrays, a policy each."""
    policies = sorted(set(mapping.values()))

    def take(learner: Any) -> Weights:
        return {p: plain(learner.module[p].unwrapped().net) for p in policies}

    told = algorithm.learner_group.foreach_learner(take)
    found: Weights = next(iter(told)).get()
    return found
